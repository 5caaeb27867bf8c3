"""`[models.<name>]` of a config: what a project sets of a model's own options."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from behavsql.errors import nearest
from behavsql.models import MODELS, model_class
from behavsql.models.parts import network_loss
from behavsql.models.parts.space import Between, OneOf, Range

if TYPE_CHECKING:
    from behavsql.models.base import Model

Value = bool | int | float | str | list[str]
Given = Mapping[str, Mapping[str, Value]]  # model -> option -> value
# What numbers may be; of those that are not here, 0 and more.
LIMITS = {
    "units": (1, 4096), "layers": (1, 24), "heads": (1, 64), "length": (1, None), "epochs": (1, 10_000),
    "frozen_epochs": (0, 10_000), "max_rows": (1, None), "sequences": (1, None), "dropout": (0, 0.95),
    "learning_rate": (1e-8, 10), "body_rate": (0, 10), "num_leaves": (2, 4096), "max_depth": (1, 64),
    "min_data_in_leaf": (1, None), "feature_fraction": (1e-3, 1), "max_leaf_nodes": (2, 4096),
    "min_samples_leaf": (1, None), "max_features": (1e-3, 1), "rows_per_tree": (1, None),
    "l1_share": (0, 1), "bins": (2, 100), "classes": (2, 100), "most_features": (1, None),
    "weight": (0, 1), "variance_smoothing": (0, 1), "states": (1, 64), "order": (1, 8),
}  # fmt: skip
# Options that are words; classes and hard votes are of no use to labels that are not yes or no.
WORDS = {
    "loss": network_loss.WAYS,
    "optimizer": ("adam", "sgd"),
    "vote": ("soft", "hard"),
    "learn_from": ("returns", "histories"),
}
ONLY_BINARY = ("class_weight", "vote")


def of(given: Given, name: str, kind: str) -> dict[str, Value]:
    """What is set for one model, where its label has a use for it."""
    own = given.get(name, {})
    return {option: own[option] for option in own if option not in ONLY_BINARY or kind == "binary"}


def parts(given: Given, names: Iterable[str]) -> dict[str, str]:
    """What trainings of these models are made from, beside the rest."""
    return {
        f"models.{name}.{option}": repr(value)
        for name in names for option, value in sorted(given.get(name, {}).items())
    }  # fmt: skip


def described(name: str) -> list[dict[str, object]]:
    """One row per option of a model: what it is if nobody sets it, and where tuning looks."""
    model = model_class(name)
    return [
        {"model": name, "option": option, "default": default,
         "searched": _searched(model.SPACE.get(option))}
        for option, default in model.OPTIONS.items()
    ]  # fmt: skip


def problems(given: Given) -> Iterator[str]:
    """What is wrong with the models, the options and the values that are set."""
    for name, options in given.items():
        if name not in MODELS:
            yield f'models.{name}: "{name}" is no model with options{_known(name, MODELS)}'
            continue
        model = model_class(name)
        for option, value in options.items():
            if option not in model.OPTIONS:
                known = _known(option, model.OPTIONS)
                yield f'models.{name}.{option}: "{option}" is no option of {name}{known}'
            elif problem := _problem(model, option, value):
                yield f"models.{name}.{option}: it is {value!r}; {problem}"


def _problem(model: "type[Model]", option: str, value: Value) -> str | None:
    """What is wrong with a value; what only training can tell is left to it."""
    default, searched = model.OPTIONS[option], model.SPACE.get(option)
    if option in ("augment", "class_weight", *WORDS):
        return _unknown_word(option, value)
    values = searched.values if isinstance(searched, OneOf) else (default,)
    # PCA is off at 0 and a share else; some options are a number or a word.
    kinds = {type(one) for one in values if one is not None}
    if kinds == {bool}:
        return None if isinstance(value, bool) else "allowed are true and false"
    if kinds == {tuple}:
        return None if isinstance(value, list) else 'allowed is a list, as ["item_text"]'
    if isinstance(value, bool | list) or (isinstance(value, str) and str not in kinds):
        return "allowed is a number"
    if isinstance(value, str):
        words = [one for one in values if isinstance(one, str)]
        return None if value in words or searched is None else f"allowed are {_listed(values)}"
    if problem := _past_limits(option, value):
        return problem
    is_whole = kinds == {int} or (
        isinstance(searched, Between) and isinstance(searched.low, int) and isinstance(searched.high, int)
    )  # fmt: skip
    return "allowed is a whole number" if is_whole and value != int(value) else None


def _past_limits(option: str, value: float) -> str | None:
    if not isfinite(value):
        return "allowed is a finite number"
    if option == "pca":
        is_right = 0 <= value < 1 or value == int(value) > 0
        return (
            None if is_right else "allowed are 0 for none, a share below 1, a number of components"
        )
    least, most = LIMITS.get(option, (0, None))
    if value >= least and (most is None or value <= most):
        return None
    return f"allowed is a number from {least:g} " + ("on" if most is None else f"to {most:g}")


def _unknown_word(option: str, value: Value) -> str | None:
    from behavsql.models.parts import augmentation, class_weight

    if option == "augment":
        known: Sequence[str] = ("none", "all", *augmentation.WAYS)
    else:
        known = class_weight.WAYS if option == "class_weight" else WORDS[option]
    words = value if option == "augment" and isinstance(value, list) else [value]
    return None if all(word in known for word in words) else f"allowed are {_listed(known)}"


def _searched(where: Range | None) -> str | None:
    if where is None:
        return None
    if isinstance(where, OneOf):
        return _listed(where.values)
    return f"{where.low:g} to {where.high:g}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(
        str(value).lower() if isinstance(value, bool) else str(value) for value in values
    )


def _known(name: str, known: Iterable[str]) -> str:
    return f"; allowed are {', '.join(known) or 'none'}.{nearest(name, known)}".rstrip(".")
