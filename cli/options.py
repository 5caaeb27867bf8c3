"""Options that several commands share, and the choices they offer."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class Models(enum.StrEnum):
    """Which models `build` compares."""

    FAST = "fast"
    STANDARD = "standard"
    ALL = "all"


class Kind(enum.StrEnum):
    """What `sql new` can start."""

    FEATURES = "features"
    LABELS = "labels"


def example(*lines: str) -> str:
    """An epilog; the backspace keeps the parser from joining its lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="The config file (default: ./behavsql.toml).")
]
WarehousePath = Annotated[
    Path | None, typer.Option("--warehouse", help="The warehouse folder (default: the config's).")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select", "-s", metavar="STEP",
        help="Run only this: a table, schema, task or pattern; x+ takes what reads x too."
        " Repeatable.",
    ),
]  # fmt: skip
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would run and why; run nothing.")
]
Full = Annotated[
    bool, typer.Option("--full", help="Run every step, also those that are up to date.")
]
ModelSet = Annotated[
    Models | None,
    typer.Option(
        "--models", help="Which models to compare (default: the config's, else standard)."
    ),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        "--partitions", metavar="N", min=1,
        help="Work on N parts of the users at once, each in a process: same rows, less memory each.",
    ),
]  # fmt: skip
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget", metavar="TIME",
        help='What all trainings may take together ("90 seconds", "10 minutes"); what does not fit is '
        "left out, and said; a run with another budget trains that again. Results then depend on the "
        "machine.",
    ),
]  # fmt: skip
Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="Search the models' options (settings trials, search; needs behavsql[tuning]).",
    ),
]
TasksToTrain = Annotated[
    list[str] | None,
    typer.Option(
        "--task", "-t", metavar="TASK", help="Train this task (default: all). Repeatable."
    ),
]
ModelsToTrain = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="MODEL",
        help="The task's new models (default: those of --models). Repeatable, or a,b,c. References come along.",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no summary, errors only.")
]
SourcesToSee = Annotated[
    list[str],
    typer.Argument(
        help="CSV, Parquet or JSON files, a quoted glob, or a database: sqlite:///FILE, env:NAME."
    ),
]
AtUnit = Annotated[
    str | None,
    typer.Option(
        help="timestamp, epoch, epoch_ms, epoch_us, or without dates: days, seconds, order."
    ),
]
DefaultType = Annotated[str | None, typer.Option(help="The event word where no column tells one.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
