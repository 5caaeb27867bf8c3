"""`behavsql init`: a commented behavsql.toml for event files, from what `sniff` understood."""

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from behavsql import config, roles
from behavsql.errors import ConfigError
from behavsql.sniffing import Choices, Sniffed, config_of, databases, sniff

HEADER = """\
# Written by `behavsql init`; build with `behavsql build`. The comments say what told each line;
# what they call a guess is worth a look. What is not set here has a default.
"""


def init(
    patterns: list[str],
    output: Path,
    choices: Choices,
    write: bool = True,
    table: str | None = None,
) -> tuple[str, list[Sniffed]]:
    """Write the config that reads these files; its text, and what was understood of each source.

    A pattern may be the URL of a database, of which `table` is read.

    Raises ConfigError if `output` exists, or if no user or no time column can be told.
    """
    if write and output.is_dir():
        raise ConfigError(
            f"{output}: is a folder; allowed is a new file. Write for example "
            f"--output {output / config.FILE_NAME}."
        )
    if write and output.exists():
        raise ConfigError(
            f"{output}: the file exists; allowed is a new one, nothing is overwritten. "
            f"Remove it, or write elsewhere with --output FILE."
        )
    folder = output.absolute().parent
    with ExitStack() as stack:
        urls = {
            str(stack.enter_context(databases.sampled(pattern, table, folder))): pattern
            for pattern in patterns if databases.is_url(pattern)
        }  # fmt: skip
        files = [pattern for pattern in patterns if pattern not in urls.values()]
        found = sniff([*urls, *files], choices)
    for source in found:
        path = source.raw.pop("path")
        if url := urls.get(path):
            source.raw |= {"url": url, "table": table}
            source.doubts.append(
                f"told from the first {databases.SAMPLE:,} rows; each build reads the whole table, "
                f"unless watermark = names a column that grows with every new row."
            )
        else:
            source.raw["path"] = _relative(Path(path), folder)
    config.from_dict(config_of(found), folder, str(output))
    text = render(found)
    if write:
        _write(output, text)
    return text, found


def _write(output: Path, text: str) -> None:
    """The whole file or none, also when it is stopped midway."""
    part = output.with_name(f".{output.name}.part")
    try:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")
            os.replace(part, output)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{output}: cannot be written ({error.strerror}); allowed is a place you may write to. "
            f"Write elsewhere with --output FILE."
        ) from None


def _relative(path: Path, folder: Path) -> str:
    """Relative where the file lies in the config's folder, so that both can move together."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def render(found: list[Sniffed]) -> str:
    """The TOML text; `tomllib` reads from it what `config_of` says.

    A word of two sources stands once, as the later one has it.
    """
    whole = config_of(found)
    blocks = [HEADER]
    if settings := whole.get("settings"):
        share = max(source.unknown_users for source in found)
        blocks.append("[settings]\n" + _line(
            "max_rejected_share", settings["max_rejected_share"], f"{share:.0%} have no user"
        ))  # fmt: skip
    blocks += [_source(source) for source in found]
    if types := whole.get("types"):
        guesses = {
            word for source in found for word, (_, is_guess) in source.words.items() if is_guess
        }
        note = "a guess: no list knows the word"
        lines = [_line(word, role, note if word in guesses else "") for word, role in types.items()]
        blocks.append(f"# Roles: {', '.join(roles.ROLES)}.\n[types]\n" + "".join(lines))
    return "\n".join(blocks)


def _source(source: Sniffed) -> str:
    raw = source.raw
    about = f"# {source.facts}.\n" if source.facts else ""
    lines = [f"{about}[[source]]\n"]
    order = (
        "name", "path", "url", "table", "kind", "shape", "log_format", "encoding", "delimiter",
        "quote", "decimal", "at_unit", "at_format", "screen_time_unit", "dedupe", "default_type",
        "attributes", "features",
    )  # fmt: skip
    lines += [_line(key, raw[key], source.why.get(key, "")) for key in order if key in raw]
    lines.append("\n[source.columns]\n")
    lines += [_line(key, value, source.why.get(key, "")) for key, value in raw["columns"].items()]
    if source.unused:
        are_events = raw.get("kind", "events") in ("events", "weblog", "app")
        kept = " (kept as attributes of the events)" if are_events else ""
        lines.append(f"# not used{kept}: {_comment(', '.join(source.unused))}\n")
    lines += [f"# note: {_comment(doubt)}\n" for doubt in source.doubts]
    return "".join(lines)


def _line(key: str, value: Any, comment: str) -> str:
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)
    return f"{name} = {_value(value)}" + (f"  # {_comment(comment)}" if comment else "") + "\n"


def _comment(text: str) -> str:
    """One line: a control character would end or spoil a comment."""
    return "".join(char if char.isprintable() else " " for char in text)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
