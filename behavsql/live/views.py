"""`live.types`, `live.events`, `live.features` and `live.<task>`, made in the build database."""

from collections.abc import Collection, Mapping

import duckdb

from behavsql import describe, generated, inbox, plan, tasks, transform
from behavsql.catalog import Catalog
from behavsql.config import Config
from behavsql.live.events import inbox_relations
from behavsql.live.flattening import Flattener
from behavsql.live.rewriting import Rewriter
from behavsql.live.statement import NotLiveError, Relation, Relations
from behavsql.quoting import identifier, literal
from behavsql.tasks import Task

VIEWS = ("events", "features")
RESERVED = {*VIEWS, "inbox", "types"}  # no task can be called so here
# Both views are ordered, as features.latest is; it also keeps DuckDB 2.0 from waiting for ever: a LIMIT
# that streams straight from a right join, which its optimizer may make of a left one, never ends.
FEATURES = "features"  # what a task's scoring query reads live.features as
# As in clock.py, on the day of asking: what is in the future at the build is not for ever.
TOMORROW = f"date_trunc('day', {inbox.NOW}) + interval '1 day'"
_COMMENTS = {
    "events": "staging.events and the usable rows of live.inbox that are not in it yet",
    "features": "every feature as of the newest event, those in live.inbox included; one row per "
    "user who is asked about now",
}


class Views:
    """Makes the views of one state of the build; to be closed. What they are written from is read once.

    con: the build database, with `raw` attached, `features.latest` and the tasks' verdicts made.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config) -> None:
        self.con, self.catalog, self.config = con, catalog, config
        self.parser = duckdb.connect()
        self.known: Relations | None = None

    def __enter__(self) -> "Views":
        return self

    def __exit__(self, *_: object) -> None:
        self.parser.close()

    def create(self) -> str:
        """Make the views that need no model, and an empty inbox; why there is no live.features, or ""."""
        inbox.create(self.con, self.config)
        _create_types(self.con)
        for view in _COMMENTS:
            self.con.execute(f"drop view if exists {identifier('live', view)}")
        try:
            relations = self._relations()
            events = relations.statement({}, "select * from staging.events")
            features = relations.statement({}, self._matrix(relations))
            features += " order by cutoffs.user_id"
        except NotLiveError as error:
            return f"no live.features: {error}"
        for name, query in (("events", events), ("features", features)):
            _create_view(self.con, name, query, _COMMENTS[name])
        return ""

    def create_task_view(
        self, task: Task, score: str, model: str, model_version: int,
        columns: Collection[str] | None = None,
    ) -> str:  # fmt: skip
        """Make `live.<task>`: scores as of now of the users the task asks about; why there is none, or "".

        score: a query that reads the table `features` (the columns of live.features), once, and gives
        user_id and score. columns: those of them that it reads, None for any: fewer are planned sooner.
        """
        measure = "probability" if task.kind == "binary" else "amount"
        asked = (
            f"select user_id, cutoff_at from cutoffs.populations where task = {literal(task.name)}"
        )
        final = (
            f"select scored.user_id, cast(scored.score as double) as {measure}, "
            f"asked.cutoff_at as as_of, {literal(model)} as model, "
            f"cast({int(model_version)} as integer) as model_version "
            f"from ({score}) as scored inner join asked on asked.user_id = scored.user_id "
            "order by scored.user_id"
        )
        try:
            relations = self._relations()
            parts = {FEATURES: self._matrix(relations, columns), "asked": asked}
            query = relations.statement(parts, final, is_final=True)
        except NotLiveError as error:
            return f"no live.{task.name}: {error}"
        purpose = self.con.execute(
            "select purpose from meta.tasks where task = ?", [task.name]
        ).fetchall()
        comment = f"{purpose[0][0]} As of the newest event, those in live.inbox included."
        _create_view(self.con, task.name, query, comment)
        return ""

    def _relations(self) -> Relations:
        """What live views read; there is an inbox by now."""
        if self.known is None:
            con, catalog, config = self.con, self.catalog, self.config
            rewriter = Rewriter(self.parser, catalog, plan.all_params(con, config))
            rewriter.define("latest_possible_at", TOMORROW)
            own = inbox_relations(con, catalog, config, rewriter)
            self.known = Relations(catalog, rewriter, own)
            self.scalars = generated.feature_columns(con, catalog)[0]
            self.flattener = Flattener(catalog, self.known.tree_of_file, self._columns_of)
        return self.known

    def _columns_of(self, table: str) -> list[str]:
        described = self.con.execute(f"describe {identifier(*table.split('.'))}").fetchall()
        return [row[0].lower() for row in described]

    def _matrix(self, relations: Relations, wanted: Collection[str] | None = None) -> str:
        """The query of live.features, with the columns of features.latest in their order.

        There is one cutoff, and each task has one window that ends at it.
        """
        scalars = {
            file: kept for file, names in self.scalars.items()
            if (kept := [name for name in names if wanted is None or name in wanted])
        }  # fmt: skip
        sources = self._flattened(relations, scalars)
        columns, joins = ["cutoffs.user_id", "cutoffs.cutoff_at"], dict.fromkeys(sources.values())
        for file, names in scalars.items():
            columns += [f"{identifier(sources[file])}.{identifier(name)}" for name in names]
        lines = [
            f"left join {_named(source)} as {identifier(source)} "
            f"on {identifier(source)}.user_id = cutoffs.user_id "
            f"and {identifier(source)}.cutoff_at = cutoffs.cutoff_at" for source in joins
        ]  # fmt: skip
        for task in tasks.scored(self.con):
            if wanted is not None and f"{task.name}_last_window" not in wanted:
                continue
            alias = identifier(f"{task.name} label")
            columns.append(
                f"cast({alias}.label as double) as {identifier(f'{task.name}_last_window')}"
            )
            lines.append(
                f"left join {identifier('labels', task.name)} as {alias} "
                f"on {alias}.user_id = cutoffs.user_id"
            )
        return f"select {', '.join(columns)} from cutoffs.cutoffs as cutoffs {' '.join(lines)}"

    def _flattened(self, relations: Relations, scalars: Mapping[str, list[str]]) -> dict[str, str]:
        """Feature file -> the relation its columns are taken from; those that can be are one."""
        sources = {file: f"features.{file}" for file in scalars}
        for position, group in enumerate(self.flattener.merged(list(sources.values()))):
            name = f"calculated {position}"
            listed = {column for file in scalars for column in scalars[file]}
            relations.add(name, Relation(self.flattener.query(group, listed)))
            sources |= {file: name for file, table in sources.items() if table in group}
        return sources


def drop_task_view(con: duckdb.DuckDBPyConnection, task: str) -> None:
    """Take away `live.<task>`, of a task that is no longer asked or cannot be compiled."""
    con.execute(f"drop view if exists {identifier('live', task)}")


def _named(source: str) -> str:
    return identifier(*source.split(".")) if "." in source else identifier(source)


def _create_types(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "create or replace table live.types as select event_type, role from raw.types order by all"
    )
    comment = "the words for what happened, in lower case, and their roles; any other is an action"
    con.execute(f"comment on table live.types is {literal(comment)}")
    describe.comment_columns(con, "live", "types")


def _create_view(con: duckdb.DuckDBPyConnection, name: str, query: str, comment: str) -> None:
    transform.make_room(con, "live", name, "view")
    con.execute(f"create or replace view {identifier('live', name)} as {query}")
    con.execute(f"comment on view {identifier('live', name)} is {literal(comment)}")
    describe.comment_columns(con, "live", name)
