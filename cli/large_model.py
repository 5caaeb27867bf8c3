"""What the command `pretrained` prints: the large model a warehouse has, and what each size takes."""

import json
import sys
from pathlib import Path

from behavsql.cli import places, show

from behavsql import pretrained
from behavsql.warehouse import connect

FOUND = "select * exclude (content, history, learned_from, trained_at) from models.pretrained"


def run(place: Path, save: Path | None, as_json: bool) -> None:
    """Show the stored model and the sizes; or, with `save`, write the model to that file."""
    with connect(place, udfs=False) as con:
        if save:
            size = pretrained.save(con, save)
            print(f"{places.shown(save)}: {size / 1e6:,.1f} MB", file=sys.stderr)
            return
        sizes, found = pretrained.sizes(con), []
        if pretrained.artifact(con):
            cursor = con.execute(FOUND)
            columns = [column[0] for column in cursor.description]
            found = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for model in found:
        for part in ("losses", "unigram_losses"):
            model[part] = json.loads(model[part])
    if as_json:
        show.write_json({"model": found[0] if found else None, "sizes": sizes})
        return
    show.write_table(
        ("size", "parameters", "FLOPs a token", "FLOPs of training", "trains here in"),
        [_line(size) for size in sizes],
    )
    for model in found:
        _tell(model)
    if not found:
        print("no model is pre-trained yet", file=sys.stderr)


def _line(size: dict) -> tuple[str, ...]:
    hours = size["hours_here"]
    return (
        size["name"],
        f"{size['count_parameters']:,}",
        f"{size['flops_per_token']:,}",
        f"{size['flops_training']:.1e}",
        "" if hours is None else f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min",
    )


def _tell(model: dict) -> None:
    begun = f", from {model['started_from']}" if model["started_from"] else ""
    print(
        f"\n{model['name']}{begun}: learned from {model['count_events']:,} events of "
        f"{model['count_users']:,} users up to {model['seen_until']}, in {model['train_seconds']:,.0f} s"
    )
    if model.get("is_cut_short"):  # a warehouse of before does not say
        print(
            f"time_budget ended it after {model['count_steps']:,} steps; a build without goes on to the end"
        )
    rows = [(name, show.number(loss), show.number(model["unigram_losses"].get(name)))
            for name, loss in model["losses"].items()]  # fmt: skip
    show.write_table(("asked for", "loss", "unigram"), rows)
