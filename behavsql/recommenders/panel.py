"""Recommenders side by side: fitted on the same choices, asked the same questions."""

import time
from collections.abc import Callable, Iterable, Mapping

import duckdb
import numpy as np

from behavsql.errors import BehavsqlError
from behavsql.recommenders import REFERENCES, base, blend, candidates, recommender_class
from behavsql.recommenders.base import Recommender
from behavsql.recommenders.diversity import Likeness
from behavsql.recommenders.measure import DEPTH, KS, Judged, judge

ROUNDS = 4  # of learning: see training.py
SHOWN = max(KS)  # items of a list that are judged
SEARCHED_RANKS = 30  # of each list
SEARCHED = 1_500  # questions that weights are searched on


class Panel:
    """Some recommenders; those that cannot learn from the choices are left out, and why is kept."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, names: Iterable[str], hides_seen: bool,
        seed: int = 7, threads: int | None = None,
        left: Callable[[], float | None] = lambda: None,
    ) -> None:  # fmt: skip
        """left: the seconds of time_budget that nobody has used yet; None = no limit."""
        self.con, self.hides_seen, self._left, self._seed = con, hides_seen, left, seed
        self.members: dict[str, Recommender] = {
            name: recommender_class(name)(seed, threads) for name in names
        }
        self.left_out: dict[str, str] = {}
        self.ran_out = False  # whether one was left out for time_budget
        self.seconds: dict[str, float] = {}  # of fitting
        self.answer_seconds: dict[str, float] = {}
        self._facts_of: str | None = None
        self._likeness: Likeness | None = None

    def fit(self, known: str, kept: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        """Let all learn from `known`, but those that can go on with what is kept of them."""
        self.known, self._facts_of, self._likeness = known, None, None
        for name, member in list(self.members.items()):
            started, left = time.perf_counter(), self._left()
            if left is not None and left <= 0 and name not in REFERENCES:
                self._leave_out(name, "time_budget was used up before it")
                self.ran_out = True
                continue
            member.seconds = None if left is None else left / ROUNDS
            try:
                if not (kept and member.load(self.con, dict(kept.get(name, {})))):
                    member.fit(self.con, known)
            except Exception as error:  # as with any model: one must not cost the others
                if name in REFERENCES:
                    raise
                told = next(iter(str(error).splitlines()), "")
                is_ours = isinstance(error, BehavsqlError)
                self._leave_out(
                    name, told if is_ours else f"it failed ({type(error).__name__}: {told})"
                )
            self.seconds[name] = time.perf_counter() - started

    def fit_in(self, rounds: int) -> None:
        """Leave out the costliest until what is left of time_budget lasts for so many more rounds."""
        left = self._left()
        if left is None:
            return
        costs = {name: rounds * (self.seconds[name] + self.answer_seconds[name])
                 for name in self.members}  # fmt: skip
        for name in sorted(set(costs) - set(REFERENCES), key=lambda name: -costs[name]):
            if sum(costs.values()) > left:
                self.ran_out = True
                self._leave_out(
                    name,
                    f"{costs.pop(name):.1f} s more for it would not fit: {max(left, 0):.1f} s of time_budget are left",
                )

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        del self.members[name]

    def ask(self, questions: str, depth: int = DEPTH, only: Iterable[str] = ()) -> dict[str, str]:
        """Name -> table (question, item, score, rank) of what each says, or those in `only`."""
        base.ask(self.con, questions, self.hides_seen)
        tables = {}
        for name in tuple(only) or tuple(self.members):
            started = time.perf_counter()
            tables[name] = f"next_said_{name}"
            answer = self.members[name].answer(self.con, depth)
            base.say(self.con, tables[name], answer, depth, self.hides_seen)
            self.answer_seconds[name] = time.perf_counter() - started
        return tables

    def judge(self, said: str, questions: str, known: str) -> Judged:
        """What the lists of one are worth, popular items behind those that are short."""
        self.con.execute(
            f"create or replace temp table next_full as select question, item, score, rank from {said} where rank <= {SHOWN}"
        )
        base.fill(self.con, "next_full", SHOWN, self.hides_seen)
        found = judge(self.con, "next_full", questions, known)
        first = self.con.execute(
            "select question, item, rank from next_full where rank <= 10 order by question, rank"
        ).fetchnumpy()
        row = np.unique(first["question"], return_inverse=True)[1]
        items = np.zeros((row.max(initial=-1) + 1, 10), np.int32)
        items[row, first["rank"] - 1] = first["item"]
        found.of_lists["distance_at_10"] = self.likeness().distance(items)
        return found

    def search(self, tables: Mapping[str, str], questions: str) -> tuple[dict[str, float], str]:
        """The best weights and shape of a blend on some questions that have answers."""
        chosen = f"(from {questions} order by hash(question), question limit {SEARCHED})"
        self.con.execute(f"create or replace temp table next_searched as from {chosen}")
        union = " union all ".join(
            f"select question, item, '{name}' as member, rank, "
            "coalesce(score / nullif(max(score) over (partition by question), 0), 0) as share "
            f"from {table} semi join next_searched using (question) where rank <= {SEARCHED_RANKS}"
            for name, table in tables.items()
        )  # fmt: skip
        answers = "from next_answers semi join next_searched using (question)"
        found = blend.Search(self.con.sql(union).pl(), self.con.sql(answers).pl(), tuple(tables))
        weights, shape, _ = found.best()
        return weights, shape

    def only(self, names: Iterable[str]) -> None:
        """Let the others go, who need not learn any more."""
        kept = set(names)
        self.members = {name: one for name, one in self.members.items() if name in kept}

    def facts(self) -> None:
        """Count what is known of items for candidates.py, once after each `fit`."""
        if self._facts_of != self.known:
            candidates.count_items(self.con, self.known)
            self._facts_of = self.known

    def likeness(self) -> Likeness:
        """How alike items are, by what was known at the last `fit`."""
        if self._likeness is None:
            self._likeness = Likeness(self.con, self.known, self._seed)
        return self._likeness

    def blended(
        self, weights: dict[str, float], shape: str, tables: dict[str, str], depth: int = DEPTH
    ) -> str:
        """The table (question, item, score, rank, member) of a blend."""
        self.con.execute(f"""
            create or replace temp table next_said_blend as
            select question, item, score, cast(row_number() over
                (partition by question order by score desc, item) as integer) as rank, member,
            from ({blend.fused(weights, shape, tables)})
            qualify rank <= {int(depth)}
        """)
        return "next_said_blend"
