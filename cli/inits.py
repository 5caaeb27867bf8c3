"""What `behavsql init` shows of what it understood."""

import sys
from decimal import Decimal
from pathlib import Path

from behavsql.cli import show
from behavsql.cli.places import shown

from behavsql.init import init
from behavsql.sniffing import Choices, Sniffed, config_of

SEPARATOR = " | "


def run(
    patterns: list[str],
    choices: dict[str, str | None],
    output: Path,
    dry_run: bool,
    as_json: bool,
    table: str | None = None,
) -> None:
    """Write the config, or print it, and tell on stderr what each column was taken for."""
    text, found = init(patterns, output, Choices(**choices), write=not dry_run, table=table)
    for source in found:
        print("\n".join(_told(source)), file=sys.stderr)
    if as_json:
        show.write_json({
            "path": None if dry_run else str(output),
            "config": config_of(found),
            "sources": [
                {"name": s.raw["name"], "why": s.why, "notes": s.doubts, "not_used": s.unused}
                for s in found
            ],
        })  # fmt: skip
    elif dry_run:
        print(text, end="")
    else:
        option = "" if shown(output) == "behavsql.toml" else f" --config {shown(output)}"
        print(f"wrote {shown(output)}; next: behavsql build{option}")


def _told(source: Sniffed) -> list[str]:
    """Facts, then part, column, what told it and three rows of it, then what is not known."""
    lines = [f"{source.raw.get('path') or source.raw['url']}: {source.facts}"]
    table = []
    for part in source.shown or source.raw["columns"]:
        key = next((name for name in _keys(part) if name in source.raw["columns"]), "default_type")
        column = source.raw["columns"].get(key, f'"{source.raw.get(key)}"')
        name = ", ".join(column) if isinstance(column, list) else column
        values = [_cell(row[source.shown.index(part)]) for row in source.rows]
        table.append((part, name, source.why.get(key, ""), SEPARATOR.join(values)))
    sizes = [max(len(row[place]) for row in table) for place in range(3)]
    lines += [
        "  "
        + "  ".join(
            [*(cell.ljust(size) for cell, size in zip(row, sizes, strict=False)), row[3]]
        ).rstrip()
        for row in table
    ]
    lines += [f"  note: {doubt}" for doubt in source.doubts]
    return [*lines, f"  not used: {', '.join(source.unused)}"] if source.unused else lines


def _keys(part: str) -> tuple[str, ...]:
    """The config keys that may fill a part of an event."""
    return {"event_type": ("event_type", "type_flag"), "value": ("value", "price")}.get(
        part, (part,)
    )


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        value = f"{value:f}".rstrip("0").rstrip(".")
    text = "".join(
        char if char.isprintable() else " " for char in str("-" if value is None else value)
    )
    return text if len(text) <= 24 else f"{text[:21]}..."
