"""Where every table comes from: its SQL file, version and inputs, as a graph and as a table."""

from behavsql.catalog import package_folder
from behavsql.reporting import graph, numbers
from behavsql.reporting.blocks import Figure, Prose, Section, Table, cell
from behavsql.reporting.context import Context
from behavsql.reporting.graph import Node
from behavsql.reporting.numbers import count
from behavsql.reporting.reader import Reader

# Columns from left to right, and the schemas, or kinds of steps, in each.
LAYERS = [
    ("staging", ("raw", "staging")), ("sessions", ("meta", "judge", "sessions")), ("cutoffs", ("cutoffs", "actions")),
    ("features", ("features",)), ("labels", ("labels",)), ("models", ("train", "compile", "models", "explain")),
    ("predictions", ("predictions", "live")), ("report", ("report", "main")),
]  # fmt: skip
LATEST = """
select * from meta.builds qualify row_number() over (partition by step order by build_id desc) = 1
"""
COMMENTS = """
select schema_name || '.' || table_name as name, comment from duckdb_tables()
where database_name = current_database()
union all
select schema_name || '.' || view_name, comment from duckdb_views()
where database_name = current_database() and not internal
"""


def section(context: Context) -> Section:
    """The graph of all steps, and the table that says the same."""
    found = Section("lineage", "Where every table comes from", "Each box is a table made by one SQL file, or a step of the build. Choose one to see what it reads and what reads it.", extra={"short": "Lineage"})  # fmt: skip
    read = context.reader
    reads = _reads(read)
    if not reads:
        found.blocks.append(Prose("This warehouse does not record its lineage.", "quiet"))
        return found
    builds = {
        row["step"]: row
        for row in read.ask(
            LATEST, needs={"meta.builds": "step build_id version count_rows seconds"}
        )
    }
    names = sorted(
        {*reads, *(name for inputs in reads.values() for name in inputs)},
        key=lambda name: (layer(name), name),
    )
    listed = _table(names, reads, builds, _comments(read))
    nodes = [
        Node(
            name,
            _label(name),
            layer(name),
            f"#{anchor(place)}",
            f"{name}: {graph.tips(reads, name)}",
        )
        for place, name in enumerate(names)
    ]
    edges = [(parent, step) for step, parents in reads.items() for parent in parents]
    title = f"{numbers.plural(len(names), 'step')} and {numbers.plural(len(edges), 'input')}"
    svg = graph.draw("lineage-graph", title, "Tables in columns by stage, with a line from each table to those that read it. The table below says the same.",
                     [name for name, _ in LAYERS], nodes, edges)  # fmt: skip
    found.blocks.append(Figure(title, "From the sources on the left to the reports on the right.", svg, listed, is_wide=True, is_open=True))  # fmt: skip
    return found


def _reads(read: Reader) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in read.ask(
        "select step, reads from meta.lineage where step <> 'publish' order by all",
        needs={"meta.lineage": "step reads"},
    ):
        found.setdefault(row["step"], []).append(row["reads"])
    return found


def _comments(read: Reader) -> dict[str, str]:
    """Purposes, without grain, version and digest, which stand beside them."""
    return {row["name"]: (row["comment"] or "").split(". grain:")[0] for row in read.ask(COMMENTS)}


def _table(names: list[str], reads: dict, builds: dict, comments: dict) -> Table:
    folders = {
        folder.name.partition("_")[2]: folder.name
        for folder in package_folder().iterdir()
        if folder.name[:1].isdigit()
    }
    rows = []
    for name in names:
        schema, _, table_ = name.partition(".")
        build = builds.get(name, {})
        version = build.get("version")
        file = f"{folders.get(schema, schema)}/{table_}.sql" if version is not None else ""
        rows.append([
            cell(name), cell(file), cell(version, count), cell(build.get("count_rows"), count),
            cell(build.get("seconds"), numbers.seconds), cell(", ".join(reads.get(name, [])) or "the sources"),
            cell(comments.get(name, "")),
        ])  # fmt: skip
    heads = ["table or step", "SQL file", "version", "rows", "took", "reads", "holds"]
    return Table(
        "Every table, and what it reads",
        heads,
        rows,
        anchors=[anchor(place) for place in range(len(names))],
    )


def anchor(place: int) -> str:
    """The id of a table's row."""
    return f"step-{place}"


def layer(name: str) -> int:
    """The column a step stands in; what is unknown stands with the models.

    >>> layer("staging.events"), layer("train churn"), layer("publish")
    (0, 5, 5)
    """
    kind = name.replace(" ", ".").split(".")[0]
    return next((place for place, (_, kinds) in enumerate(LAYERS) if kind in kinds), 5)


def _label(name: str) -> str:
    schema, dot, table_ = name.partition(".")
    return table_ if dot and schema not in ("raw", "meta", "main", "actions", "live") else name
