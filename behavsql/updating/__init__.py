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
from datetime import timedelta

import duckdb

from behavsql import generated, transform
from behavsql.appending import append, raw_rows_since
from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.errors import SqlFileError
from behavsql.input.arrivals import Arrivals
from behavsql.live.rewriting import replaced
from behavsql.plan.records import Record
from behavsql.plan.steps import BEFORE_MODELS, Step
from behavsql.quoting import identifier
from behavsql.tasks import Task
from behavsql.updating import reading
from behavsql.updating.reading import CUTOFF
from behavsql.updating.scratch import USERS, Cutoffs, Scratch, at, replace_rows

NONE: Cutoffs = frozenset()
WINDOWS = "cutoffs.windows"
REPORT = 7  # the stage of the reports
RAW_COMMON = (
    "raw.sources", "raw.bots", "raw.types", "raw.not_products", "raw.lines", "raw.clock",
    "raw.withheld",
)  # fmt: skip
META = ("meta.clock", "meta.tasks")
# Common tables whose rows belong to raw rows, and so to users: those of touched users are replaced.
BY_RAW_ROW = {"staging.repeats", "staging.rejected"}


class Update:
    """What a run has found to be touched so far, and how each step makes that anew."""

    def __init__(self, con: duckdb.DuckDBPyConnection, catalog: Catalog, news: Arrivals) -> None:
        self.con, self.catalog, self.news = con, catalog, news
        self.is_reshaped = False  # whether the matrix has other columns than it had
        self.is_all_scored = False  # whether the moment that is asked about is another
        self.scratch = Scratch(con, catalog)
        self.cutoffs: dict[str, Cutoffs] = {}  # table -> where users who are not touched may differ
        self.diffs: dict[str, str] = {}  # common table -> the temporary table of rows that differ
        self.changed: set[str] = set()  # results that are not what they were
        self.are_tasks_same = True  # whether those that are asked have the windows they had
        self.aggregates = self.scratch.aggregates()

    def close(self) -> None:
        """End what was opened for the run."""
        self.scratch.close()

    def touch(self, query: str) -> None:
        """Take note of more users: the ids that a query gives; NULL is nobody."""
        before = self.count()
        self.con.execute(
            f"insert into {identifier(USERS)} select distinct user_id from ({query}) "
            f"where user_id is not null and user_id not in (from {identifier(USERS)})"
        )
        if self.count() != before:
            self.scratch.clear()

    def count(self) -> int:
        """How many users are touched."""
        return self.con.execute(f"select count(*) from {identifier(USERS)}").fetchall()[0][0]

    # Common tables

    def keep(self, table: str) -> None:
        """Remember the rows of a common table that is about to be made anew."""
        self.con.execute(
            f"create or replace temp table {identifier(f'old {table}')} as "
            f"from {identifier(*table.split('.'))}"
        )

    def compare(self, table: str) -> bool:
        """Find the rows of a common table that are not what they were; whether there are any."""
        old, new = identifier(f"old {table}"), identifier(*table.split("."))
        names = self.scratch.columns(table)
        was = self.con.execute(f"describe from {old}").fetchall()
        if was != self.con.execute(f"describe from {new}").fetchall():
            self.diffs[table] = ""  # all of it
            return True
        listed = ", ".join(map(identifier, names))
        diff = f"diff {table}"
        self.con.execute(
            f"create or replace temp table {identifier(diff)} as "
            f"(select {listed} from {old} except all select {listed} from {new}) union all "
            f"(select {listed} from {new} except all select {listed} from {old})"
        )
        rows = self.con.execute(f"select count(*) from {identifier(diff)}").fetchall()[0][0]
        if rows:
            self.diffs[table] = diff
        return rows > 0

    # SQL files

    def run_file(self, file: SqlFile) -> int | None:
        """Bring a file's table up to date, as transform.run_file does; the row count."""
        if file.materialized == "view":  # it shows what its inputs are by now
            self._run_view(file)
            return None
        if file.table in BY_RAW_ROW:
            self._run_by_raw_row(file)
        elif not self.scratch.is_by_user(file.table):
            self.keep(file.table)
            transform.run_file(self.con, file)
            if self.compare(file.table):
                self.changed.add(file.table)
        else:
            reached = self._reached(file)
            if reached is None:
                self._run_whole(file)
            else:
                self._run_touched(file, reached)
        name = identifier(file.schema, file.name)
        return self.con.execute(f"select count(*) from {name}").fetchall()[0][0]

    def _run_view(self, file: SqlFile) -> None:
        if not self.scratch.is_by_user(file.table):
            return
        reached = self._reached(file)
        if reached is None:
            raise SqlFileError(
                f"{file.where}: it cannot be told what of this view an update touches; allowed are "
                "views that keep users and cutoffs apart. Make it a table, or run `behavsql score`."
            )
        self.cutoffs[file.table] = reached

    def _reached(self, file: SqlFile) -> Cutoffs | None:
        """The cutoffs at which a file's rows may differ for any user; None: all, or it is not known.

        Users whom a changed common table reaches are touched from here on.
        """
        tree, cutoffs, carrying = self.scratch.tree(file), NONE, set()
        for table in file.inputs:
            found = self.cutoffs.get(table, NONE)
            if table in self.diffs and not self.scratch.is_by_user(table):
                more = self._reached_by(file, tree, table)
                if more is None:
                    return None
                found |= more
            if found:
                carrying.add(table)
                cutoffs |= found
        if not cutoffs or file.table == WINDOWS:
            return cutoffs
        # What has cutoffs at all is cut by them.
        carrying |= {table for table in file.inputs if CUTOFF in self.scratch.columns(table)}
        is_apart = reading.is_apart_by_cutoff(tree, carrying, self.aggregates)
        return cutoffs if is_apart else None

    def _reached_by(self, file: SqlFile, tree: dict, table: str) -> Cutoffs | None:
        """What the changed rows of a common table reach: cutoffs, or users, who are noted."""
        diff = self.diffs[table]
        if not diff:
            return None
        columns = reading.columns_read(tree, table, self.scratch.columns(table))
        listed = ", ".join(map(identifier, columns)) or "1"
        differing = self._differing(table, listed)
        if not self.con.execute(f"from ({differing}) limit 1").fetchall():
            return NONE
        if CUTOFF in columns:
            rows = self.con.execute(f"select distinct cutoff_at from ({differing})").fetchall()
            return frozenset(moment for (moment,) in rows)
        found = NONE
        for join in reading.keys(tree, table) or [[]]:
            reached = self._reached_through(file, join, differing)
            if reached is None:
                return None
            found |= reached
        # Windows that began a horizon before cutoffs would have to be found by the old horizon.
        return None if found and file.table == WINDOWS else found

    def _differing(self, table: str, listed: str) -> str:
        """The query for what differs of a changed table in some columns alone."""
        old, new = identifier(f"old {table}"), identifier(*table.split("."))
        was, now = f"select distinct {listed} from {old}", f"select distinct {listed} from {new}"
        return f"(({was}) except ({now})) union all (({now}) except ({was}))"

    def _reached_through(
        self, file: SqlFile, join: list[reading.Key], differing: str
    ) -> Cutoffs | None:
        """The cutoffs that a join brings together with differing rows; users are noted as touched.

        None where no input has the columns that are joined on.
        """
        found, is_told = NONE, False
        for table in file.inputs:
            names = {name.lower() for name in self.scratch.columns(table)}
            column = CUTOFF if CUTOFF in names else "user_id"
            usable = [key for key in join if key.columns <= names]
            is_own = column == CUTOFF or self.scratch.is_by_user(table)
            if not usable or not is_own:
                continue
            is_told = True
            query = self._met(table, column, usable, differing)
            if column == CUTOFF:
                found |= frozenset(at for (at,) in self.con.execute(query).fetchall())
            else:
                self.touch(query)
        return found if is_told else None

    def _met(self, table: str, column: str, keys: list[reading.Key], differing: str) -> str:
        """The query for a column of the rows of a table that meet a differing row."""
        name = identifier(*table.split("."))
        tree = sql_tree.parse_select(self.scratch.parser, f"select {column} from {name}", table)
        tree["select_list"] += [
            key.other | {"alias": f"key {position}"} for position, key in enumerate(keys)
        ]
        on = " and ".join(
            f"met.{identifier(f'key {position}')} = differing.{identifier(key.column)}"
            for position, key in enumerate(keys)
        )
        return (
            f"select distinct met.{column} from ({self.scratch.rewriter.text(tree)}) as met "
            f"semi join ({differing}) as differing on {on}"
        )

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
        replace_rows(self.con, file.table, parts)
        self.cutoffs[file.table] = differ
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
        self.keep(file.table)
        transform.run_file(self.con, file)
        old, new = identifier(f"old {file.table}"), identifier(file.schema, file.name)
        was = self.con.execute(f"describe from {old}").fetchall()
        is_same_shape = was == self.con.execute(f"describe from {new}").fetchall()
        key = CUTOFF if CUTOFF in self.scratch.columns(file.table) else "user_id"
        told = f"select {key}, count(*), sum(hash(*columns(*))) from {{}} group by {key}"
        if not is_same_shape:
            told = f"select {key}, random() from {{}} group by {key}"
        differ = (
            f"select {key} from (({told.format(old)} except {told.format(new)}) union all "
            f"({told.format(new)} except {told.format(old)}))"
        )
        if key == CUTOFF:
            self.cutoffs[file.table] = frozenset(
                at for (at,) in self.con.execute(differ).fetchall()
            )
        else:
            self.touch(differ)
        self.con.execute(f"drop table {old}")
        self.scratch.clear()
        self.changed.add(file.table)

    def _run_by_raw_row(self, file: SqlFile) -> None:
        """Replace the rows that belong to raw rows of touched users, or to nobody's new ones."""
        part = self.scratch.part("raw.events", None)
        tables = {"raw.events": part}
        if "staging.events" in file.inputs:
            tables["staging.events"] = self.scratch.part("staging.events", None)
        sql = self.scratch.rewriter.text(replaced(self.scratch.tree(file), tables))
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
        """Whether what a step made before stands, though something it reads is another by now.

        The live views show what tables hold; reports are of the test questions, whose answers stay.
        """
        if not self.are_tasks_same:
            return False
        if step.verb == "live" and not self.is_reshaped:
            passed = ("features.matrix", *META)
        elif step.file and step.file.stage_number == REPORT and reading.is_of_test(step.file):
            passed = ("models[", *META)
        else:
            return False
        return old.parts == step.parts and all(
            old.inputs.get(name) == names.get(name)
            for name in step.reads if not name.startswith(passed)
        )  # fmt: skip

    # Steps that are no SQL files

    def ingest(self, config: Config) -> int:
        """Add what is new to `raw` and find out whose rows that are; the rows of raw.events."""
        self.con.execute(
            f"create or replace temp table {identifier(USERS)} as "
            "select user_id from raw.events limit 0"
        )
        for table in RAW_COMMON:
            self.keep(table)
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
            if self.compare(table):
                self.changed.add(table)
        self.scratch.new_rows = raw_rows_since(self.con, load)
        self.touch(f"select user_id from raw.events where {self.scratch.new_rows}")
        # What was in the future when it was read may have come to pass.
        self.con.execute("set variable was_latest = ?", [was])
        self.touch(
            "select user_id from raw.events where event_at > getvariable('was_latest') "
            "and event_at <= (select latest_possible_at from raw.clock)"
        )
        return self.con.execute("select count(*) from raw.events").fetchall()[0][0]

    def keep_meta(self) -> None:
        """Remember the clock and the tasks, which are about to be resolved."""
        for table in META:
            self.keep(table)

    def compare_meta(self) -> None:
        """See what came out different in them."""
        for table in META:
            self.compare(table)
        asked = "(from {} where status = 'ready')"
        old, new = asked.format('"old meta.tasks"'), asked.format("meta.tasks")
        self.are_tasks_same = not self.con.execute(
            f"({old} except {new}) union all ({new} except {old}) limit 1"
        ).fetchall()

    def matrix(self, tasks: list[Task]) -> int:
        """Bring features.matrix and features.latest up to date; the rows of the matrix."""
        scalars, _ = generated.feature_columns(self.con, self.catalog)
        touched = f"user_id in (from {identifier(USERS)})"
        parts = {touched: generated.matrix_rows(scalars, tasks, touched)}
        if self._shape(f"({parts[touched]})") != self._shape("features.matrix"):
            self.is_all_scored = self.is_reshaped = True
            self.changed.add("features.matrix")
            return generated.build_matrix(self.con, self.catalog, tasks)
        cutoffs = self._matrix_cutoffs(scalars)
        if cutoffs:
            horizon = at(cutoffs).replace("cutoff_at", "labels.cutoff_at + tasks.horizon", 1)
            parts[at(cutoffs)] = generated.matrix_rows(
                scalars, tasks, f"not {touched} and {at(cutoffs)}", f"not {touched} and {horizon}"
            )
        for position, (gone, rows) in enumerate(parts.items()):
            name = f"matrix {position}"
            self.con.execute(f"create or replace temp table {identifier(name)} as {rows}")
            parts[gone] = name
        replace_rows(self.con, "features.matrix", parts)
        self.changed.add("features.matrix")
        as_of = self.con.execute("select as_of from meta.clock").fetchall()[0][0]
        self.is_all_scored = as_of in cutoffs
        if self.is_all_scored:
            generated.build_latest(self.con)
        else:
            moment = self.con.execute(
                f"create or replace temp table latest as from {identifier(parts[touched])} "
                "where cutoff_at = (select as_of from meta.clock)"
            )
            del moment
            replace_rows(self.con, "features.latest", {touched: "latest"})
        return self.con.execute("select count(*) from features.matrix").fetchall()[0][0]

    def _matrix_cutoffs(self, scalars: dict[str, list[str]]) -> Cutoffs:
        """Where rows of users who are not touched may differ: features, or a label a horizon before."""
        found = self.cutoffs.get("cutoffs.cutoffs", NONE)
        for name in scalars:
            found |= self.cutoffs.get(f"features.{name}", NONE)
        for task, horizon in self.con.execute("select task, horizon from meta.tasks").fetchall():
            found |= {moment + horizon for moment in self.cutoffs.get(f"labels.{task}", NONE)}
        return found

    def _shape(self, relation: str) -> list[tuple]:
        return [row[:2] for row in self.con.execute(f"describe from {relation}").fetchall()]

    def scored_users(self) -> str | None:
        """The table of users whose features may have changed; None: everybody's did."""
        return None if self.is_all_scored else USERS
