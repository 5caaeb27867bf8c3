"""What a SQL file says about itself: its header, and the digest that tells whether it changed.

The header is the block of `-- key: value` lines at the top of a file, one key per line. A value
goes on below under ten or more spaces; any other line ends the header:

    -- purpose: how lately and how often a user came,
    --          as of each cutoff
"""

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from behavsql.errors import SqlFileError, nearest

COMMON_KEYS = (
    "purpose", "grain", "inputs", "params", "check", "version", "materialized", "scope",
)  # fmt: skip
LABEL_KEYS = ("entity", "kind", "horizon", "active_within", "metric", "roles", "types")
MACROS = "0_macros"  # the one stage that makes no tables
MACRO_KEYS = ("purpose", "version")
REQUIRED = ("purpose", "grain", "inputs", "version")
REQUIRED_OF_LABELS = ("entity", "kind", "horizon", "active_within")
CHOICES = {
    "materialized": ("table", "view"),
    "scope": ("user", "global"),
    "kind": ("binary", "count", "amount", "choice"),
}
ROLES = ("view", "click", "cart", "purchase", "return", "action", "other")
# What a table holds depends on these; purpose is for people and version follows by hand.
DIGESTED = ("grain", "check", "materialized", "scope", *LABEL_KEYS)

_LINE = re.compile(r"--\s*([a-z_]+)\s*:(.*)")
_CONTINUATION = re.compile(r"-- {10,}(\S.*)")
_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]* | /\*(?:(?!/\*|\*/).|/\*(?:(?!\*/).)*\*/)*\*/)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | (?P<tag>\$\w*\$).*?(?P=tag))
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>0[xXbBoO][0-9a-fA-F_]+ | (?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    | (?P<operator>->>|->|::|:=|=>|<=|>=|<>|!=|==|\|\||\*\*|//|\^@|@>|<@|&&|<<|>>|~~|\S)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Header:
    """The header as written: every key with its values and their line numbers, in order."""

    where: str
    values: dict[str, tuple[str, ...]]
    lines: dict[str, tuple[int, ...]]

    def one(self, key: str, default: str = "") -> str:
        return self.values.get(key, (default,))[0]

    def names(self, key: str) -> tuple[str, ...]:
        """A comma-separated value; empty or `none` is no name at all."""
        text = self.one(key).lower()
        return () if text in ("", "none") else tuple(part.strip() for part in text.split(","))

    def error(self, key: str, problem: str) -> SqlFileError:
        return SqlFileError(f"{self.where}:{self.lines.get(key, (1,))[0]}: {problem}")


def tokens(sql: str) -> list[str]:
    """Split SQL into tokens, comments and a closing semicolon dropped, unquoted words lowered.

    Written here because the digest must outlive a change of DuckDB's own tokenizer.

    >>> tokens("SELECT 'A'  -- why\\n, Total::int")
    ['select', "'A'", ',', 'total', '::', 'int']
    """
    found = []
    for match in _TOKEN.finditer(sql):
        if match.lastgroup != "comment":
            text = match.group()
            exact = match["string"] is not None or match["quoted"] is not None
            found.append(text if exact else text.lower())
    while found and found[-1] == ";":
        found.pop()
    return found


def digest(sql: str, header: Header) -> str:
    """16 hex digits over the query's tokens and the header keys in `DIGESTED`."""
    parts = tokens(sql)
    for key in DIGESTED:
        for value in header.values.get(key, ()):
            parts += [f"-- {key}", *tokens(value)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read_header(sql: str, where: str, stage: str) -> Header:
    """Parse and check the header of a file of that stage; SqlFileError names file and line."""
    allowed = COMMON_KEYS + (LABEL_KEYS if stage.endswith("_labels") else ())
    header = _parse(sql, where, MACRO_KEYS if stage == MACROS else allowed)
    required = MACRO_KEYS if stage == MACROS else REQUIRED
    required += REQUIRED_OF_LABELS if stage.endswith("_labels") else ()
    for key in required:
        if key not in header.values:
            needed = ", ".join(required)
            raise header.error(
                "", f'the header lacks "{key}"; it needs {needed}. Add `-- {key}: ...` at the top.'
            )
    _check_values(header)
    return header


def _parse(sql: str, where: str, allowed: tuple[str, ...]) -> Header:
    values: dict[str, list[str]] = {}
    lines: dict[str, list[int]] = {}
    block = list(itertools.takewhile(lambda line: line.startswith("--"), sql.splitlines()))
    key = ""
    for number, line in enumerate(block, start=1):
        if key and (more := _CONTINUATION.fullmatch(line.rstrip())):
            values[key][-1] = f"{values[key][-1]} {more[1]}".strip()
        elif match := _LINE.fullmatch(line):
            key = match[1]
            _check_key(key, f"{where}:{number}", allowed, values)
            values.setdefault(key, []).append(match[2].strip())
            lines.setdefault(key, []).append(number)
        else:
            _check_prose(block[number - 1 :], f"{where}:{number}", allowed)
            break
    return Header(
        where,
        {key: tuple(found) for key, found in values.items()},
        {key: tuple(found) for key, found in lines.items()},
    )


def _check_prose(block: list[str], at: str, allowed: tuple[str, ...]) -> None:
    """Refuse a comment below the header that hides a key: a forgotten colon, a line between."""
    later = [match[1] for line in block if (match := _LINE.fullmatch(line))]
    word = block[0].lstrip("- ").partition(" ")[0].lower()
    if word in allowed or set(later) & set(allowed):
        raise SqlFileError(
            f"{at}: {block[0]!r} ends the header; a header holds `-- key: value` lines only."
            " Write the colon, or move the comment below all keys."
        )


def _check_key(key: str, at: str, allowed: tuple[str, ...], seen: Iterable[str]) -> None:
    if key not in allowed:
        note = " Only files in the labels stage may have it." if key in LABEL_KEYS else ""
        raise SqlFileError(
            f'{at}: unknown header key "{key}"; allowed are {", ".join(allowed)}.'
            f"{note or nearest(key, allowed)}"
        )
    if key in seen and key != "check":
        raise SqlFileError(
            f'{at}: header key "{key}" is given twice; only check may repeat. Merge the two lines.'
        )


def _check_values(header: Header) -> None:
    for key, found in header.values.items():
        if key not in ("inputs", "params") and "" in found:
            raise header.error(key, f"{key} is empty. Write its value after the colon.")
        if key in CHOICES:
            _check_choice(header, key, found[0], CHOICES[key])
    for role in header.names("roles"):
        _check_choice(header, "roles", role, ROLES)
    version = header.one("version")
    if not re.fullmatch(r"[1-9]\d*", version):
        raise header.error("version", f'version is "{version}"; it must be an integer from 1 up.')
    for key in ("grain", "inputs", "params", "roles", "types"):
        names = header.names(key)
        if "" in names or len(set(names)) < len(names):
            problem = "it must be different names with commas between"
            raise header.error(key, f'{key} is "{header.one(key)}"; {problem}.')
    if "grain" in header.values and not header.names("grain"):
        raise header.error("grain", "grain names no column; it must say what makes a row unique.")


def _check_choice(header: Header, key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = f"allowed are {', '.join(allowed)}.{nearest(value, allowed)}"
        raise header.error(key, f'{key} is "{value}"; {choices}')
