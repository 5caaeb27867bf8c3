"""The whole page: its parts in order, and one HTML file that asks for nothing from anywhere."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

import duckdb
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from behavsql import __version__
from behavsql.errors import ConfigError, nearest
from behavsql.reporting import (
    activity,
    change,
    data,
    following,
    functions,
    glossary,
    lineage,
    making,
    overview,
    people,
    tasks,
)
from behavsql.reporting.blocks import Section
from behavsql.reporting.context import Context
from behavsql.reporting.reader import Reader

TEMPLATES = files("behavsql.reporting") / "templates"


def render(
    con: duckdb.DuckDBPyConnection, only: Sequence[str] = (), users: Sequence[str] = (),
    k: int | None = None,
) -> str:  # fmt: skip
    """The page of an open warehouse. only: tasks to show (all); users: ids to show by name, as text.

    k: numbers of fewer users are left out; None: of as few as when it was built.
    """
    reader = Reader(con, k)
    people.check(reader, users)
    context = Context(reader, only, users)
    _check_tasks(context, only)
    return _html(context, _sections(context))


def _check_tasks(context: Context, only: Sequence[str]) -> None:
    known = [task.name for task in context.all_tasks]
    for name in only:
        if name not in known:
            raise ConfigError(
                f'--task: there is no task "{name}"; allowed are {", ".join(known) or "none yet"}.'
                f"{nearest(name, known)} See `behavsql tasks`."
            )


def _sections(context: Context) -> list[Section]:
    return [
        overview.section(context),
        *tasks.sections(context),
        *([acting] if (acting := following.section(context)) else []),
        _past(context),
        people.section(context),
        data.section(context),
        activity.section(context),
        functions.section(context),
        lineage.section(context),
        glossary.section(context),
        making.section(context),
    ]


def _past(context: Context) -> Section:
    lead = "What the warehouse said in the past, beside what then happened."
    return Section(
        "past",
        "Past predictions, and what came",
        lead,
        change.scoreboard(context),
        extra={"short": "Past predictions"},
    )


def _html(context: Context, sections: list[Section]) -> str:
    style, script = (_read(name) for name in ("style.css", "page.js"))
    top = sections[0].extra
    return _environment().get_template("page.html").render(
        sections=sections, style=Markup(style), script=Markup(script), policy=policy(style, script),
        version=__version__, title=f"{top['title']} · behavsql", subtitle=sections[0].kicker,
        footer=f"Written by behavsql {__version__} from the published warehouse; this file asks for nothing from any network.",
    )  # fmt: skip


def policy(style: str, script: str) -> str:
    """What a browser may do for this page: use this style and this script, and fetch nothing."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
