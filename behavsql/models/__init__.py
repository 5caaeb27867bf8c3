"""One file = one model, and one line here = it can be trained.

The values are strings so that importing this package loads no library a model is written in.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from behavsql.errors import ConfigError, nearest

if TYPE_CHECKING:
    from behavsql.models.base import Model

MODELS: dict[str, str] = {
    "prevalence": "behavsql.models.prevalence:Prevalence",
    "persistence": "behavsql.models.persistence:Persistence",
    "logistic": "behavsql.models.logistic:Logistic",
    "linear": "behavsql.models.linear:Linear",
    "decision_tree": "behavsql.models.decision_tree:DecisionTree",
    "random_forest": "behavsql.models.random_forest:RandomForest",
    "lightgbm": "behavsql.models.lightgbm:LightGBM",
    "naive_bayes": "behavsql.models.naive_bayes:NaiveBayes",
    "bayes_network": "behavsql.models.bayes_network:BayesNetwork",
    "markov_chain": "behavsql.models.markov_chain:MarkovChain",
    "hmm": "behavsql.models.hmm:HMM",
    "mlp": "behavsql.models.mlp:MLP",
    "cnn": "behavsql.models.cnn:CNN",
    "gru": "behavsql.models.gru:GRU",
    "lstm": "behavsql.models.lstm:LSTM",
    "transformer": "behavsql.models.transformer:Transformer",
    "pretrained_transformer": "behavsql.models.pretrained_transformer:PretrainedTransformer",
    "fusion": "behavsql.models.fusion:Fusion",
    "embedding_lightgbm": "behavsql.models.embedding_lightgbm:EmbeddingLightGBM",
    "bg_nbd": "behavsql.models.bg_nbd:BGNBD",
    "voting": "behavsql.models.voting:Voting",
    "weighting": "behavsql.models.weighting:Weighting",
    "stacking": "behavsql.models.stacking:Stacking",
}

REFERENCES = ("prevalence", "persistence")  # trained whatever else is, and shown beside it
ENSEMBLES = ("voting", "weighting", "stacking")  # of the other models of a task
NEED_PRETRAINED = (
    "pretrained_transformer",
    "embedding_lightgbm",
)  # `needs` of these classes says so too
_FAST = (
    *REFERENCES,
    "logistic",
    "linear",
    "decision_tree",
    "random_forest",
    "lightgbm",
)

_STANDARD = (*_FAST, "naive_bayes", "bayes_network", "bg_nbd", "mlp", "voting", "weighting")
_EVENTS = ("markov_chain", "hmm", "cnn", "gru", "lstm", "transformer", "fusion", *NEED_PRETRAINED)

# What `--models` accepts, in the order of training; a model that does not serve a task's kind is
# passed over. `standard` are those that gained something on real data for a few seconds: on five
# tasks voting had a mean rank of 2 among 18, lightgbm 4; what reads events one by one took twenty
# times as long for ranks of 6 to 15.
MODEL_SETS: dict[str, tuple[str, ...]] = {
    "fast": _FAST,
    "standard": _STANDARD,
    "all": (*_STANDARD, *_EVENTS, "stacking"),
}


def best_reference(values: Mapping[str, float], direction: int) -> str:
    """The reference with the best value; on a tie, but for rounding, prevalence. Higher wins at 1.

    >>> best_reference({"persistence": 0.5, "prevalence": 0.5 + 1e-15}, -1)
    'prevalence'
    """
    names = sorted(values, key=lambda name: name != REFERENCES[0])
    return max(names, key=lambda name: direction * float(f"{values[name]:.9g}"))


def model_class(name: str) -> "type[Model]":
    """The class registered under `name`; ConfigError with the nearest name if there is none."""
    if name not in MODELS:
        hint = nearest(name, MODELS) or " Choose one of these."
        raise ConfigError(f"models: {name!r} is not a model; known are {', '.join(MODELS)}.{hint}")
    module, _, cls = MODELS[name].partition(":")
    return getattr(import_module(module), cls)
