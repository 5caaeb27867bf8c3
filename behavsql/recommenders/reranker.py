"""What several recommenders say, put in a better order: trees that learned which candidates were chosen.

Source: Burges 2010 (LambdaMART: gradients weighted by what a swap changes of the ndcg).
"""

from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.recommenders import candidates
from behavsql.recommenders.blend import Blend
from behavsql.recommenders.measure import DEPTH

if TYPE_CHECKING:
    from behavsql.recommenders.panel import Panel

POOL = 60  # candidates of a question: the best of the blend
FEWEST = 100  # questions with a chosen candidate, to learn from
MOST_ROUNDS, PATIENCE = 300, 30
SETTINGS = {
    "objective": "lambdarank", "metric": "ndcg", "eval_at": [10], "lambdarank_truncation_level": 20,
    "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 100, "feature_fraction": 0.6,
    "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "deterministic": True,
    "force_row_wise": True, "verbosity": -1,
}  # fmt: skip


class Reranker:
    """The order of the blend's best candidates, by what each member and their past say of them.

    It learns from questions of train that were asked of members who knew nothing of the answers,
    and stops by the half of valid that fits.
    """

    def __init__(self, blend: Blend, text: str, threads: int | None = None) -> None:
        import lightgbm as lgb

        self.blend, self._text, self._threads = blend, text, threads or 1
        self._booster = lgb.Booster(model_str=text)
        features, used = self._booster.feature_name(), self._booster.feature_importance("split")
        self._features = features
        heard = {name.partition("_")[2] for name, n in zip(features, used, strict=True) if n}
        self._names = [name[5:] for name in features if name.startswith("rank_")]
        self.members = tuple(name for name in self._names if name in heard or name in blend.weights)

    @classmethod
    def fit(
        cls, blend: Blend, train: pl.DataFrame, valid: pl.DataFrame, seed: int,
        threads: int | None = None,
    ) -> Self:  # fmt: skip
        """Learn from lessons of train and of valid; ModelError where there is too little."""
        import lightgbm as lgb

        features = [name for name in train.columns if name not in ("question", "item", "is_chosen")]
        sets = [_with_hits(frame) for frame in (train, valid)]
        counts = [frame["question"].n_unique() for frame in sets]
        if counts[0] < FEWEST or counts[1] < FEWEST // 4:
            raise ModelError(
                f"model reranker: a candidate was chosen in {counts[0]} questions of train and "
                f"{counts[1]} of valid; it takes {FEWEST} and {FEWEST // 4}. Leave it out."
            )
        settings = {**SETTINGS, "seed": seed, "num_threads": threads or 1}
        data = _dataset(sets[0], features, settings)
        booster = lgb.train(
            settings, data, MOST_ROUNDS, valid_sets=[_dataset(sets[1], features, settings, data)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )  # fmt: skip
        return cls(blend, booster.model_to_string(num_iteration=booster.best_iteration), threads)

    def say(self, panel: "Panel", tables: dict[str, str], depth: int = DEPTH) -> str:
        """The table (question, item, score, rank, member); scores are in (0, 1)."""
        pool = self.blend.say(panel, tables, POOL)
        panel.facts()
        found = panel.con.sql(candidates.query(pool, tables, self._names)).pl()
        raw = np.empty(0)
        if found.height:
            raw = self._booster.predict(_matrix(found, self._features), num_threads=self._threads)
        said = found.select("question", "item", "member").with_columns(
            pl.Series("score", 1 / (1 + np.exp(-np.clip(raw, -30, 30))))
        )
        panel.con.register("next_reranked", said.to_arrow())
        panel.con.execute(f"""
            create or replace temp table next_said_reranker as
            select question, item, score, cast(row_number() over
                (partition by question order by score desc, item) as integer) as rank, member,
            from next_reranked qualify rank <= {int(depth)}
        """)
        panel.con.unregister("next_reranked")
        return "next_said_reranker"

    def params(self) -> dict[str, object]:
        """Ready for JSON."""
        return self.blend.params() | {"rounds": self._booster.num_trees()}

    def save(self) -> dict[str, bytes]:
        """LightGBM's own text; the blend is in `params`."""
        return {"reranker/lightgbm.txt": self._text.encode()}


def lesson(panel: "Panel", blend: Blend, tables: dict[str, str]) -> pl.DataFrame:
    """What a re-ranker learns from: (question, item, is_chosen, *names) of the questions just asked."""
    pool = blend.say(panel, tables, POOL)
    panel.facts()
    found = panel.con.sql(candidates.query(pool, tables, tuple(tables))).pl()
    answers = panel.con.sql("select question, item, true as is_chosen from next_answers").pl()
    return (
        found.drop("member")
        .join(answers, on=["question", "item"], how="left", maintain_order="left")
        .with_columns(pl.col("is_chosen").fill_null(False))
    )


def _with_hits(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the questions of which no candidate was chosen: there is no order to learn."""
    return frame.filter(pl.col("is_chosen").any().over("question"))


def _matrix(frame: pl.DataFrame, features: list[str]) -> np.ndarray:
    return frame.select(pl.col(features).cast(pl.Float32)).to_numpy()


def _dataset(frame: pl.DataFrame, features: list[str], settings: dict, reference=None):
    import lightgbm as lgb

    groups = frame.group_by("question", maintain_order=True).len()["len"].to_numpy()
    return lgb.Dataset(
        _matrix(frame, features), frame["is_chosen"].cast(pl.Int8).to_numpy(), group=groups,
        reference=reference, feature_name=features, params=settings,
    )  # fmt: skip
