"""What check, doctor and rollback print."""

import dataclasses
import sys
from datetime import date
from pathlib import Path

import typer
from behavsql.cli import show
from behavsql.cli.places import has_config, shown

from behavsql.config import Config
from behavsql.errors import ConfigError
from behavsql.progress import counted

MARKS = {True: "problem", False: "ok"}


def check(config: Config, time_travel: bool, at: date | None, as_json: bool) -> None:
    """Print every kind of check as it is done, then what was found; exit 1 if anything was."""
    from behavsql.check import groups

    if at is not None and not time_travel:
        raise ConfigError("check: --at without --time-travel; allowed are both. Add --time-travel.")
    done = []
    for group in groups(config, time_travel, at):
        done.append(group)
        if not as_json:
            count = f"  {counted(len(group.findings), 'finding')}" if group.findings else ""
            mark = MARKS[bool(group.findings)]
            print(f"{mark:<8} {group.name:<12} {group.looked_at}{count}", flush=True)
    found = [finding.message for group in done for finding in group.findings]
    if as_json:
        show.write_json([
            {"check": group.name, "looked_at": group.looked_at,
             "findings": [finding.message for finding in group.findings]} for group in done
        ])  # fmt: skip
    elif found:
        print("\n" + "\n".join(found))
    if found:
        raise typer.Exit(1)


def doctor(config: Path | None, warehouse: Path | None, as_json: bool) -> None:
    """Print one line per thing looked at, and under it what to run; exit 1 on a problem."""
    from behavsql.doctor import examine

    looked = list(examine(config, warehouse, has_config()))
    if as_json:
        show.write_json([dataclasses.asdict(line) for line in looked])
    else:
        for line in looked:
            print(f"{line.status:<8} {line.name:<16} {line.value}".rstrip())
            if line.remedy:
                print(f"{'':<8} {'':<16} -> {line.remedy}")
    if any(line.status == "problem" for line in looked):
        raise typer.Exit(1)


def rollback(config: Config, to: int | None, listed: bool, as_json: bool) -> None:
    """Print the kept versions, or restore one and say which."""
    from behavsql.rollback import roll_back, versions
    from behavsql.warehouse import Warehouse

    if listed:
        if to is not None:
            raise ConfigError(
                "rollback: both --list and --to are set; allowed is one. Leave one out."
            )
        _list_versions(versions(config), as_json)
        return
    restored = roll_back(config, to or 1)
    published = Warehouse(config.warehouse).published
    if as_json:
        show.write_json({"path": str(published), "restored": _as_json(restored)})
        return
    tasks = ", ".join(restored.tasks) or "no task"
    print(
        f"{shown(published)}: restored the version of {restored.published_at:%Y-%m-%d %H:%M} UTC "
        f"(run {restored.run_id}: {tasks})"
    )
    print("undo with: behavsql rollback", file=sys.stderr)


def _list_versions(kept: list, as_json: bool) -> None:
    if as_json:
        show.write_json([_as_json(version) for version in kept])
        return
    if not kept:
        print("no kept version", file=sys.stderr)
        return
    show.write_table(
        ("number", "published at (UTC)", "MB", "run", "behavsql", "tasks"),
        [
            (v.number, f"{v.published_at:%Y-%m-%d %H:%M:%S}", round(v.size / 1e6, 1), v.run_id,
             v.behavsql_version, v.problem or ", ".join(v.tasks))
            for v in kept
        ],
    )  # fmt: skip


def _as_json(version: object) -> dict:
    return dataclasses.asdict(version) | {"path": str(version.path)}
