"""What card and diff print."""

import sys
from pathlib import Path

from behavsql.cli import show
from behavsql.cli.places import shown

from behavsql.config import Config


def card(place: Path, task: str | None, as_json: bool) -> None:
    """Print the card of one task, or those of all, one after the other."""
    from behavsql.card import card, markdown

    found = card(place, task)
    if as_json:
        show.write_json(found)
    elif found:
        print("\n".join(map(markdown, found)).rstrip("\n"))
    else:
        print("no models yet", file=sys.stderr)


def diff(config: Config, old: str | None, new: str | None, users: int, as_json: bool) -> None:
    """Print what differs, part by part; one line where nothing does."""
    from behavsql import diff as module

    places = module.places(config, old, new)
    found = module.diff(*places, users)
    if as_json:
        show.write_json({"old": str(places[0]), "new": str(places[1])} | found)
        return
    print(f"{shown(places[0])} -> {shown(places[1])}", file=sys.stderr)
    if module.is_same(found):
        print("nothing differs but when it was built")
        return
    parts = [part for part in module.told(found) if part[1]]
    for position, (heading, rows, columns) in enumerate(parts):
        print(f"{'' if position == 0 else chr(10)}{heading}\n")
        show.write_table(columns, rows)
