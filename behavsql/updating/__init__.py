"""`behavsql update`: after a few new rows, only what they touch is made anew.

A row of a table about users can differ from before only if its user is touched: has new events, or
reads a row of a common table (an item, its popularity) that came out different; or if it lies at a
cutoff that is new, gone or asked otherwise, for which all active users are asked. So of each file

    the touched users' rows, at all cutoffs, and
    the other users' rows at touched cutoffs

are taken out, made anew from the same parts of what it reads, and put back: the query is the
file's own, and that users and cutoffs do not mix in it is told from its syntax tree. A file for
which it cannot be told is made anew whole, and compared with what it was, which tells whom it
touches. Small common tables are always made anew whole.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import duckdb

from behavsql import transform
from behavsql.appending import append, raw_rows_since
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.errors import SqlFileError
from behavsql.input import identities
from behavsql.input.arrivals import Arrivals
from behavsql.live.rewriting import replaced
from behavsql.plan.records import Record
from behavsql.plan.steps import BEFORE_MODELS, Step
from behavsql.quoting import identifier
from behavsql.tasks import Task
from behavsql.updating import matrix, standing
from behavsql.updating.past import CATEGORIES, Past
from behavsql.updating.reach import NONE, WINDOWS, Reach
from behavsql.updating.reading import CUTOFF
from behavsql.updating.scratch import USERS, Cutoffs, Scratch, at, replace_rows
from behavsql.updating.standing import META, REPORT

RAW_COMMON = (
    "raw.sources", "raw.bots", "raw.types", "raw.not_products", "raw.lines", "raw.clock",
    "raw.withheld",
)  # fmt: skip
# Common tables whose rows belong to raw rows, and so to users: those of touched users are replaced.
BY_RAW_ROW = {"staging.repeats", "staging.rejected"}


class Update:
    """What a run has found to be touched so far, and how each step makes that anew."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, news: Arrivals,
        names: Mapping[str, str],
    ) -> None:  # fmt: skip
        """names: what the results are called before the run."""
        self.con, self.catalog, self.news, self.names = con, catalog, news, dict(names)
        self.is_reshaped = self.is_all_scored = False  # see matrix.Remade
        self.scratch = Scratch(con, catalog)
        self.reach = Reach(con, self.scratch)
        reports = [file for file in catalog.files.values() if file.stage_number == REPORT]
        of_users = {file.table for file in catalog.files.values() if file.scope == "user"}
        self.past = Past(con, reports, {*of_users, CATEGORIES})
        self.changed: set[str] = set()  # results that are not what they were
        self.are_tasks_same = True  # whether those that are asked have the windows they had

    def close(self) -> None:
        """End what was opened for the run."""
        self.scratch.close()

    # SQL files

    def run_file(self, file: SqlFile) -> int | None:
        """Bring a file's table up to date, as transform.run_file does; the row count."""
        if file.materialized == "view":  # it shows what its inputs are by now
            self._run_view(file)
            return None
        if file.table in BY_RAW_ROW:
            self._run_by_raw_row(file)
        elif not self.scratch.is_by_user(file.table):
            self.reach.keep(file.table)
            transform.run_file(self.con, file)
            if self.reach.compare(file.table):
                self.changed.add(file.table)
        else:
            reached = self.reach.reached(file)
            if reached is None:
                self._run_whole(file)
            else:
                self._run_touched(file, reached)
        name = identifier(file.schema, file.name)
        return self.con.execute(f"select count(*) from {name}").fetchall()[0][0]

    def _run_view(self, file: SqlFile) -> None:
        if not self.scratch.is_by_user(file.table):
            return
        reached = self.reach.reached(file)
        if reached is None:
            raise SqlFileError(
                f"{file.where}: it cannot be told what of this view an update touches; allowed are "
                "views that keep users and cutoffs apart. Make it a table, or run `behavsql score`."
            )
        self.reach.cutoffs[file.table] = reached

    def _run_touched(self, file: SqlFile, cutoffs: Cutoffs) -> None:
        """Make a file's rows of the touched users, and at the touched cutoffs, and put them in place."""
        parts = {f"user_id in (from {identifier(USERS)})": self.scratch.run(file, None)}
        self._enforce(file, next(iter(parts.values())))
        differ = NONE
        if cutoffs:
            read, made = self._stretched(file, cutoffs)
            part = self.scratch.run(file, read, made)
            self._enforce(file, part)
            differ = self._differ(file.table, part, made)
            if differ:
                parts[f"{at(made)}"] = part
        if self.past.is_watched(file.table):
            mine, name = next(iter(parts.items())), identifier(*file.table.split("."))
            self.past.compare(file.table, f"{name} where {mine[0]}", identifier(mine[1]))
            self.past.note(file.table, differ)
        replace_rows(self.con, file.table, parts)
        self.reach.cutoffs[file.table] = differ
        self.changed.add(file.table)

    def _stretched(self, file: SqlFile, cutoffs: Cutoffs) -> tuple[Cutoffs, Cutoffs]:
        """The cutoffs to read and those to make: the windows before a cutoff begin a horizon earlier."""
        if file.table != WINDOWS:
            return cutoffs, cutoffs
        horizons = [row[0] for row in self.con.execute(
            "select horizon from meta.tasks where status = 'ready' union "
            "select horizon from \"old meta.tasks\" where status = 'ready' or is_judged"
        ).fetchall()]  # fmt: skip
        made = cutoffs | {moment - horizon for moment in cutoffs for horizon in horizons}
        read = made | {moment + horizon for moment in made for horizon in horizons}
        return read, made

    def _differ(self, table: str, part: str, cutoffs: Cutoffs) -> Cutoffs:
        """At which of the cutoffs the rows of users who are not touched are not what they were."""
        told = f"select cutoff_at, count(*), sum(hash(*columns(*))) from {{}} where {at(cutoffs)}"
        old = self.con.execute(
            f"{told.format(identifier(*table.split('.')))} "
            f"and user_id not in (from {identifier(USERS)}) group by cutoff_at"
        ).fetchall()
        new = self.con.execute(f"{told.format(identifier(part))} group by cutoff_at").fetchall()
        return frozenset(moment for moment, *_ in {*old} ^ {*new})

    def _run_whole(self, file: SqlFile) -> None:
        """Make a file anew, and find out whom that touches."""
        self.reach.keep(file.table)
        transform.run_file(self.con, file)
        old, new = identifier(f"old {file.table}"), identifier(file.schema, file.name)
        was = self.con.execute(f"describe from {old}").fetchall()
        is_same_shape = was == self.con.execute(f"describe from {new}").fetchall()
        key = CUTOFF if CUTOFF in self.scratch.columns(file.table) else "user_id"
        self.past.note(file.table, [datetime.min])  # or so early as it may be
        told = f"select {key}, count(*), sum(hash(*columns(*))) from {{}} group by {key}"
        if not is_same_shape:
            told = f"select {key}, random() from {{}} group by {key}"
        differ = (
            f"select {key} from (({told.format(old)} except {told.format(new)}) union all "
            f"({told.format(new)} except {told.format(old)}))"
        )
        if key == CUTOFF:
            self.reach.cutoffs[file.table] = frozenset(
                at for (at,) in self.con.execute(differ).fetchall()
            )
        else:
            self.reach.touch(differ)
        self.con.execute(f"drop table {old}")
        self.scratch.clear()
        self.changed.add(file.table)

    def _run_by_raw_row(self, file: SqlFile) -> None:
        """Replace the rows that belong to raw rows of touched users, or to nobody's new ones."""
        part = self.scratch.part("raw.events", None)
        tables = {"raw.events": part}
        if "staging.events" in file.inputs:
            tables["staging.events"] = self.scratch.part("staging.events", None)
        sql = self.scratch.rewriter.text(replaced(file.tree, tables))
        name = f"new {file.table}"
        self.con.execute(f"create or replace temp table {identifier(name)} as {sql}")
        self._enforce(file, name)
        if file.table == "staging.repeats":
            gone = f"raw_row in (select raw_row from {identifier(part)})"
        else:
            gone = (
                "rule = 'malformed_line' or source not in "
                "(select source from raw.sources where kind = 'events') or (source, source_row) in "
                "(select raw_events.source, raw_row - first_rowid + 1 "
                f"from {identifier(part)} as raw_events "
                "inner join raw.sources as sources on sources.source = raw_events.source)"
            )
        replace_rows(self.con, file.table, {gone: name})
        self.changed.add(file.table)

    def _enforce(self, file: SqlFile, part: str) -> None:
        _, broken = transform.broken_promises(self.con, file, identifier(part))
        if broken:
            raise SqlFileError(broken[0])

    def takes(self, step: Step, old: Record | None) -> bool:
        """Whether a step is done here: one that was done before, up to the scores."""
        if old is None:
            return step.verb == "score"
        if step.verb in ("ingest", "matrix", "score"):
            return True
        return step.file is not None and step.file.stage_number <= BEFORE_MODELS

    def results(self, step: Step, old: Record | None, new: str) -> dict[str, str]:
        """The names of a step's results: those of before where they are what they were."""
        if step.verb == "score":
            return {f"models[{step.task}]": new, f"latest[{step.task}]": new}
        kept = old.results if old else {}
        is_view = step.file is not None and step.file.materialized == "view"
        moved = is_view or step.name in self.changed
        if step.verb == "ingest":
            return {name: new if name in self.changed else was for name, was in kept.items()}
        return {name: new if moved else was for name, was in kept.items()}

    def stands(self, step: Step, old: Record, names: Mapping[str, str]) -> bool:
        """Whether what a step made before stands, though something it reads is another by now."""
        return standing.stands(self, step, old, names)

    # Steps that are no SQL files

    def ingest(self, config: Config) -> int:
        """Add what is new to `raw` and find out whose rows that are; the rows of raw.events."""
        self.con.execute(
            f"create or replace temp table {identifier(USERS)} as "
            "select user_id from raw.events limit 0"
        )
        for table in RAW_COMMON:
            self.reach.keep(table)
        (was,), (load,), (newest,) = (
            self.con.execute(query).fetchall()[0]
            for query in (
                "select latest_possible_at from raw.clock", "select count(*) from raw.loads",
                "select max(event_at) from staging.events",
            )
        )  # fmt: skip
        late_before = newest - timedelta(days=config.settings.late_days) if newest else None
        append(self.con, config, self.news, late_before)
        self.changed.add("raw.events")
        for table in RAW_COMMON:
            if self.reach.compare(table):
                self.changed.add(table)
        self.scratch.new_rows = raw_rows_since(self.con, load)
        self.reach.touch(f"select user_id from raw.events where {self.scratch.new_rows}")
        self.reach.touch(identities.moved(self.con))
        # What was in the future when it was read may have come to pass.
        self.con.execute("set variable was_latest = ?", [was])
        self.reach.touch(
            "select user_id from raw.events where event_at > getvariable('was_latest') "
            "and event_at <= (select latest_possible_at from raw.clock)"
        )
        return self.con.execute("select count(*) from raw.events").fetchall()[0][0]

    def keep_meta(self) -> None:
        """Remember the clock and the tasks, which are about to be resolved."""
        for table in META:
            self.reach.keep(table)

    def compare_meta(self) -> None:
        """See what came out different in them."""
        for table in META:
            self.reach.compare(table)
        asked = "(from {} where status = 'ready')"
        old, new = asked.format('"old meta.tasks"'), asked.format("meta.tasks")
        self.are_tasks_same = not self.con.execute(
            f"({old} except {new}) union all ({new} except {old}) limit 1"
        ).fetchall()

    def matrix(self, tasks: list[Task]) -> int:
        """Bring features.matrix and features.latest up to date; the rows of the matrix."""
        self.changed.add("features.matrix")
        remade = matrix.bring_up_to_date(self.con, self.catalog, tasks, self.reach, self.past)
        self.is_reshaped, self.is_all_scored = remade.is_reshaped, remade.is_all_scored
        return self.con.execute("select count(*) from features.matrix").fetchall()[0][0]

    def scored_users(self) -> str | None:
        """The table of users whose features may have changed; None: everybody's did."""
        return None if self.is_all_scored else USERS
