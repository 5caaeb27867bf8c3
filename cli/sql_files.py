"""The `behavsql sql` commands: what SQL files there are, their versions, and starters."""

import re
import sys
from pathlib import Path

from behavsql.cli import show
from behavsql.cli.places import shown
from behavsql.cli.starters import STARTERS

from behavsql import catalog
from behavsql.catalog import Catalog
from behavsql.errors import ConfigError, SqlFileError, nearest

VERSIONS = "versions.toml"
STAGES = {"features": "4_features", "labels": "5_labels"}


def folder_of(config: Path | None) -> Path:
    """The project's own SQL folder: beside its config, else here."""
    return (config.parent if config else Path()) / "sql"


def list_files(project: Path, as_json: bool) -> None:
    """Print every file in build order, macros first."""
    found = Catalog.load(project)
    files = [*found.macros, *found.files.values()]
    if as_json:
        show.write_json([
            {"stage": f.stage, "table": f.table, "version": f.version, "digest": f.digest,
             "purpose": f.purpose, "file": f.where} for f in files
        ])  # fmt: skip
        return
    show.write_table(
        ("stage", "table", "version", "purpose"),
        [(f.stage, f.table, f.version, f.purpose) for f in files],
    )


def show_file(project: Path, table: str, as_json: bool) -> None:
    """Print the text of a table's file; a name without its schema will do if it is the only one."""
    found = Catalog.load(project)
    files = {file.table: file for file in (*found.macros, *found.files.values())}
    fitting = [name for name in files if table in (name, name.partition(".")[2])]
    if len(fitting) != 1:
        names = [*files, *(name.partition(".")[2] for name in files)]
        told = f"it could be {' or '.join(fitting)}" if fitting else f"there are {len(files)} files"
        raise ConfigError(
            f'sql show: "{table}" does not name one SQL file; {told}.{nearest(table, names)} '
            f"See `behavsql sql list`."
        )
    file = files[fitting[0]]
    text = file.path.read_text(encoding="utf-8")
    if as_json:
        show.write_json(
            {"table": file.table, "file": file.where, "version": file.version, "sql": text}
        )
    else:
        print(text, end="" if text.endswith("\n") else "\n")


def lock(project: Path, as_json: bool) -> None:
    """Rewrite versions.toml; SqlFileError lists the files that changed under their old version."""
    if not project.is_dir():
        raise ConfigError(
            f"sql lock: there is no {shown(project)}/ folder here; allowed is a project with SQL "
            f"files of its own. Start one with `behavsql sql new features NAME`."
        )
    found = Catalog.load(project).only_in(project)
    path = project / VERSIONS
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        locked = catalog.locked_versions(old)
    except (ValueError, TypeError, AttributeError) as error:
        raise SqlFileError(
            f"{shown(path)}: not a list of versions ({error}). Remove it and lock again."
        ) from None
    if problems := catalog.unbumped(found, locked):
        raise SqlFileError("\n".join(problems))
    new = catalog.render_lock(found)
    if new != old or not path.exists():
        _write(path, new)
    count = len(found.files) + len(found.macros)
    if as_json:
        show.write_json({"path": str(path), "files": count, "changed": new != old})
    else:
        print(f"{shown(path)}: {count} files, {'rewritten' if new != old else 'unchanged'}")


def new(project: Path, kind: str, name: str, as_json: bool) -> None:
    """Write a starter that already builds; ConfigError rather than overwrite or override."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f'sql new: "{name}" cannot name a table; allowed are lower-case letters, digits and _, '
            f"a letter first. Choose another name."
        )
    path = project / STAGES[kind] / f"{name}.sql"
    if path.exists():
        raise ConfigError(
            f"{shown(path)}: the file exists; allowed is a new name. Edit it, or choose another."
        )
    if f"{kind}.{name}" in Catalog.load(project).files:
        raise ConfigError(
            f"sql new: {kind}.{name} is shipped with behavsql; allowed is a new name. "
            f"To override it: behavsql sql show {kind}.{name} > {shown(path)}"
        )
    _write(path, STARTERS[kind].replace("NAME", name))
    if as_json:
        show.write_json({"path": str(path), "table": f"{kind}.{name}"})
        return
    print(shown(path))
    print("It builds as it stands: edit it, then `behavsql build`.", file=sys.stderr)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{shown(path)}: cannot be written ({error.strerror}); allowed is a project you may write "
            f"to. Copy it, or name another project's config with --config."
        ) from None
