"""Recommenders side by side: fitted on the same choices, asked the same questions."""

import time
from collections.abc import Iterable, Mapping

import duckdb

from behavsql.errors import BehavsqlError
from behavsql.recommenders import REFERENCES, base, blend, candidates, recommender_class
from behavsql.recommenders.base import Recommender
from behavsql.recommenders.measure import DEPTH, KS, Judged, judge

SHOWN = max(KS)  # items of a list that are judged
SEARCHED_RANKS = 30  # of each list
SEARCHED = 1_500  # questions that weights are searched on


class Panel:
    """Some recommenders; those that cannot learn from the choices are left out, and why is kept."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, names: Iterable[str], hides_seen: bool,
        seed: int = 7, threads: int | None = None,
    ) -> None:  # fmt: skip
        self.con, self.hides_seen = con, hides_seen
        self.members: dict[str, Recommender] = {
            name: recommender_class(name)(seed, threads) for name in names
        }
        self.left_out: dict[str, str] = {}
        self.seconds: dict[str, float] = {}  # of fitting
        self.answer_seconds: dict[str, float] = {}
        self._facts_of: str | None = None

    def fit(self, known: str, kept: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        """Let all learn from `known`, but those that can go on with what is kept of them."""
        self.known, self._facts_of = known, None
        for name, member in list(self.members.items()):
            started = time.perf_counter()
            try:
                if not (kept and member.load(self.con, dict(kept.get(name, {})))):
                    member.fit(self.con, known)
            except Exception as error:  # as with any model: one must not cost the others
                if name in REFERENCES:
                    raise
                told = next(iter(str(error).splitlines()), "")
                is_ours = isinstance(error, BehavsqlError)
                self.left_out[name] = (
                    told if is_ours else f"it failed ({type(error).__name__}: {told})"
                )
                del self.members[name]
            self.seconds[name] = time.perf_counter() - started

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
        return judge(self.con, "next_full", questions, known)

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
