"""The SQL prompt: lines in, rows out; what `behavsql shell` does."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
from behavsql.cli import asks, ctrl_c, failures

from behavsql import __version__
from behavsql.errors import BehavsqlError, nearest
from behavsql.interrupts import interruptible
from behavsql.warehouse import FILE_NAME, connect

FIRST, NEXT = "behavsql> ", "     ...> "
CANCELLED = "cancelled"
LEAVE = (".exit", "exit", "quit")  # as other shells call .quit; without a semicolon too
# What may hold a semicolon that ends nothing: texts, names, comments.
_QUOTED = re.compile(
    r"""\b[eE]'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""",
    re.DOTALL,
)
_OPEN = re.compile(r"""['"]|/\*|\$\w*\$""")

HELP = """\
Write SQL and end it with ;  over as many lines as you like. Ctrl-C stops a statement, or throws away
what was begun; Ctrl-D leaves. The file is read-only and is not left while the shell is open: others
read it too, but an insert into live.inbox waits, and a newer version is read after .reload.

  .tables          the tables and views there are
  .schema NAME     the columns of one of them
  .reload          read what was published since; temporary tables are lost
  .help            this
  .quit            leave
"""

TABLES = """
select schema_name || '.' || name as "table", kind, about from (
    select schema_name, table_name as name, 'table' as kind, comment as about
    from duckdb_tables() where database_name = 'behaviour'
    union all
    select schema_name, view_name, 'view', comment
    from duckdb_views() where database_name = 'behaviour' and not internal
)
order by schema_name <> 'main', schema_name, name
"""
COLUMNS = """
select column_name as "column", data_type as type, comment as about
from duckdb_columns()
where database_name = 'behaviour' and schema_name || '.' || table_name = ?
order by column_index
"""
NAMES = """
select schema_name || '.' || table_name from duckdb_columns()
where database_name = 'behaviour' and not internal
group by all order by max(schema_name) = 'main', 1
"""


class _Left(Exception):
    """Somebody wants to leave."""


def run(place: Path, limit: int | None, as_csv: bool, as_json: bool) -> None:
    """Answer what is typed, or what stdin holds, until it ends; BehavsqlError for a script's first error."""
    output = asks.output("shell", limit, as_csv, as_json)
    is_typed = sys.stdin.isatty()
    with suppress(_Left), _Shell(place, output) as shell, _own_ctrl_c():
        if is_typed:
            _converse(shell)
        else:
            _follow(shell)


def is_complete(text: str) -> bool:
    """Whether a text ends a statement: with a semicolon that is no part of a text, name or comment.

    >>> is_complete("select 1;"), is_complete("select ';"), is_complete("select 1; -- more;")
    (True, False, True)
    >>> is_complete("select 1 /* ; */"), is_complete("select $$;$$ -- ;")
    (False, False)
    """
    rest = _QUOTED.sub(lambda found: " " if found[0][:2] in ("--", "/*") else "x", text)
    return rest.rstrip().endswith(";") and not _OPEN.search(rest)


def _follow(shell: "_Shell") -> None:
    """A script: statements one by one; the first error, with its line, ends it."""
    begun, first = "", 1
    for number, line in enumerate(sys.stdin, 1):
        if not begun.strip():
            begun, first = "", number
        begun += line
        if _is_word(begun) or is_complete(begun):
            _tell_where(shell, begun, first)
            begun = ""
    _tell_where(shell, begun, first)


def _tell_where(shell: "_Shell", text: str, line: int) -> None:
    try:
        shell.answer(text)
    except (duckdb.Error, BehavsqlError) as error:
        if failures.is_interrupt(error):
            raise
        raise BehavsqlError(f"shell: line {line}: {str(error).strip()}") from None


def _converse(shell: "_Shell") -> None:
    """A person: an error is said, and the next statement is asked for."""
    with suppress(ImportError):
        import readline  # noqa: F401  input() then edits lines and remembers them, until we leave
    print(f"behavsql {__version__}, {shell.file} (read-only). .help says how.", file=sys.stderr)
    begun = ""
    while True:
        try:
            begun += input(NEXT if begun.strip() else FIRST) + "\n"
            if not (_is_word(begun) or is_complete(begun)):
                continue
            text, begun = begun, ""
            shell.answer(text)
            shell.tell_news()
        except EOFError:
            print()
            return
        except (KeyboardInterrupt, BehavsqlError, duckdb.Error, RuntimeError) as error:
            begun = ""
            _say(CANCELLED if failures.is_interrupt(error) else f"Error: {str(error).strip()}")


def _is_word(text: str) -> bool:
    return text.lstrip().startswith(".") or text.strip().lower() in LEAVE


def _say(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _own_ctrl_c() -> Iterator[None]:
    """A press stops what is being answered, not the command: nothing is at stake, nobody is hurried."""
    if not ctrl_c.is_heeded():  # somebody else's handler stays
        yield
        return

    def pressed(number: int, frame: object) -> None:
        raise ctrl_c.Pressed

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Shell:
    """An open warehouse, and what is done with a line."""

    def __init__(self, place: Path, output: asks.Output) -> None:
        self.place, self.output = place, output
        self.file = place / FILE_NAME if place.is_dir() else place
        self.has_answered = False

    def __enter__(self) -> "_Shell":
        self.con = connect(self.place)
        self._note()
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def answer(self, text: str) -> None:
        """Carry out a text: a word with a dot, or any number of statements."""
        if _is_word(text):
            self._word(text.split())
            return
        with interruptible(self.con):
            for statement in self.con.extract_statements(text):
                self._show(lambda con, one=statement: con.execute(one))

    def tell_news(self) -> None:
        """Say once that what was published since is not what is read here."""
        now = self._version()
        if now not in (None, self.version):
            self.version = now
            _say("a newer version was published; .reload reads it")

    def _show(self, ask: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
        if self.has_answered and not sys.stdin.isatty():
            print()
        self.has_answered = asks.print_rows(ask(self.con), self.output) or self.has_answered

    def _word(self, words: list[str]) -> None:
        doings = dict.fromkeys(LEAVE, self._quit) | {
            ".tables": self._tables, ".schema": self._schema, ".reload": self._reload,
            ".help": lambda: _say(HELP.rstrip()), ".quit": self._quit,
        }  # fmt: skip
        word, *names = words
        if word.lower() not in doings:
            allowed = [name for name in doings if name not in LEAVE]
            raise BehavsqlError(
                f"{word}: there is no such word; allowed are {', '.join(allowed)}."
                f"{nearest(word, allowed)}"
            )
        if len(names) != (word.lower() == ".schema"):
            takes = "one name" if word.lower() == ".schema" else "nothing"
            raise BehavsqlError(
                f"{word}: {' '.join(names) or 'nothing'} stands after it; allowed is {takes}. "
                f"See .help."
            )
        doings[word.lower()](*names)

    def _tables(self) -> None:
        self._show(lambda con: con.execute(TABLES))

    def _schema(self, name: str) -> None:
        full = {one.lower(): one for (one,) in self.con.execute(NAMES).fetchall()}
        bare = {name.partition(".")[2]: one for name, one in full.items()}  # main's, if it is there
        wanted = name.rstrip(";").replace('"', "").lower()
        found = full.get(wanted) or bare.get(wanted)
        if found is None:
            raise BehavsqlError(
                f".schema: there is no table {name}; allowed are those of .tables."
                f"{nearest(wanted, [*full, *bare])}"
            )
        self._show(lambda con: con.execute(COLUMNS, [found]))

    def _reload(self) -> None:
        new = connect(self.place)  # before the old one is closed: there may be none
        self.con.close()
        self.con = new
        self._note()

    def _quit(self) -> None:
        raise _Left

    def _note(self) -> None:
        self.version = self._version()

    def _version(self) -> tuple[int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
