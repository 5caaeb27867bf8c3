"""A task of kind `choice`: its recommenders fitted, compared, and the best one allowed to speak.

All are fitted on what was known at a late train cutoff, whose questions teach the re-ranker; at the
first valid cutoff, where weights and champion are chosen; at the first test cutoff, which decides
nothing; and those that are published now.
"""

import json
import time
from collections.abc import Sequence

import duckdb
import polars as pl

from behavsql import model_tables
from behavsql.budget import Budget
from behavsql.config import Settings
from behavsql.errors import ModelError
from behavsql.plan.changes import Parts
from behavsql.progress import Progress
from behavsql.recommenders import BLEND, DIVERSE, REFERENCES, RERANKER, publishing
from behavsql.recommenders.blend import Blend
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.diversity import Diverse
from behavsql.recommenders.heard import Heard, Mix, keep, kept, store
from behavsql.recommenders.measure import gain
from behavsql.recommenders.panel import Panel
from behavsql.recommenders.reranker import Reranker, lesson
from behavsql.tasks import Task


def train_task(
    con: duckdb.DuckDBPyConnection, task: Task, settings: Settings, names: Sequence[str],
    learned: dict[str, Parts], progress: Progress, budget: Budget | None = None,
) -> int:  # fmt: skip
    """Train a choice task's recommenders, judge them, publish the best; the users it speaks to."""
    choices = Choices.load(con, task.name, settings.seen_items, settings.seed)
    left = [] if choices.has_categories else ["segment_popularity"]
    left += [] if choices.has_words else ["content"]
    singles = [name for name in names if name not in (BLEND, RERANKER, *left)]
    budget = budget or Budget(None)
    time_left = budget.of_task(singles).left
    panel = Panel(con, singles, choices.hides_seen, settings.seed, settings.threads, time_left)
    with progress.step(f"train {task.name}") as line:
        taught = _on_train(panel, choices) if RERANKER in names else None
        found = _on_valid(panel, choices, BLEND in names, taught, settings)
        _on_test(panel, choices, found)
        best, champion = _promote(found, task, settings.seed)
        published = best
        line.rows = con.execute(
            "select count(*) from next_choices where chosen_at <= $until",
            {"until": choices.until["valid"]},
        ).fetchall()[0][0]
        line.note = f"{best.name}: {task.metric} {best.valid.mean(task.metric):.4f} on valid"
        if settings.diversity:
            published = _diversified(panel, choices, found, best, task, settings.diversity)
    budget.ran_out |= panel.ran_out
    for name, reason in panel.left_out.items():
        progress.say(f"  {task.name}: {name} is left out: {reason}")
    _tell(progress, task, champion, published)
    store(con, task, found, champion, published, choices, settings, learned)
    model_tables.store_left_out(con, task.name, panel.left_out)
    panel.only((*REFERENCES, *published.mix.members))
    panel.fit(choices.known("latest"))
    keep(con, task, panel, published)
    return publishing.publish(con, task, panel, choices, published.mix)


def _on_train(panel: Panel, choices: Choices) -> tuple[Blend, pl.DataFrame] | None:
    """The blend whose candidates the re-ranker orders, and what it learns from."""
    if "train" not in choices.until:
        return None
    asked = choices.questions("train")
    panel.fit(choices.known("train"))
    tables = panel.ask(asked)
    panel.fit_in(rounds=3)
    tables = {name: table for name, table in tables.items() if name in panel.members}
    if len(tables) < 2:
        return None
    blend = Blend(*panel.search(tables, asked))
    return blend, lesson(panel, blend, tables)


def _on_valid(
    panel: Panel, choices: Choices, blends: bool, taught: tuple[Blend, pl.DataFrame] | None,
    settings: Settings,
) -> list[Heard]:  # fmt: skip
    asked, fit_half = choices.questions("valid"), choices.questions("valid", "is_fit_half")
    known = choices.known("valid")
    panel.fit(known)
    tables = panel.ask(asked)
    panel.fit_in(rounds=2)
    tables = {name: table for name, table in tables.items() if name in panel.members}
    found = [
        Heard(
            name, panel.members[name].family, Blend({name: 1.0}),
            panel.judge(table, asked, known), panel.seconds[name], panel.answer_seconds[name],
        )
        for name, table in tables.items()
    ]  # fmt: skip

    def add(name: str, mix: Mix, started: float) -> None:
        took = time.perf_counter() - started + sum(panel.seconds[name] for name in mix.members)
        started = time.perf_counter()
        said = mix.say(panel, tables)
        answering = sum(panel.answer_seconds[name] for name in mix.members)
        answering += time.perf_counter() - started
        judged = panel.judge(said, asked, known)
        found.append(Heard(name, "ensemble", mix, judged, took, answering))

    if blends and len(tables) > 1:
        started = time.perf_counter()
        add(BLEND, Blend(*panel.search(tables, fit_half)), started)
    started = time.perf_counter()
    if taught and (mix := _taught(panel, tables, fit_half, taught, settings)):
        add(RERANKER, mix, started)
    return found


def _taught(
    panel: Panel, tables: dict[str, str], fit_half: str, taught: tuple[Blend, pl.DataFrame],
    settings: Settings,
) -> Reranker | None:  # fmt: skip
    """The re-ranker; None, and why is kept, where it cannot learn."""
    if not {f"rank_{name}" for name in tables} >= _ranks(taught[1]):
        panel.left_out[RERANKER] = "it has learned from one that was left out since"
        return None
    shown = lesson(panel, taught[0], tables).join(
        panel.con.sql(f"select question from {fit_half}").pl(), on="question", how="semi"
    )
    try:
        return Reranker.fit(*taught, shown, settings.seed, settings.threads)
    except ModelError as error:
        panel.left_out[RERANKER] = str(error)
        return None


def _ranks(taught: pl.DataFrame) -> set[str]:
    """The columns that say what members said, one for each."""
    return {name for name in taught.columns if name.startswith("rank_")}


def _on_test(panel: Panel, choices: Choices, found: list[Heard]) -> None:
    asked, known = choices.questions("test"), choices.known("test")
    panel.fit(known)
    tables = panel.ask(asked)
    for one in list(found):
        if not set(one.mix.members) <= set(tables):  # left out by now
            found.remove(one)
            continue
        said = tables.get(one.name) or one.mix.say(panel, tables)
        one.test = panel.judge(said, asked, known)


def _promote(found: list[Heard], task: Task, seed: int) -> tuple[Heard, Heard]:
    """(published, champion): the best on the half of valid that picks, if it surely beats the references."""
    metric = task.metric
    pick = ~found[0].valid.is_fit_half
    value = {one.name: one.valid.mean(metric, pick) for one in found}
    by_name = {one.name: one for one in found}
    references = {name: value[name] for name in REFERENCES if name in value}
    reference = by_name[max(sorted(references), key=lambda name: references[name])]
    candidates = [one for one in found if not one.is_reference]
    if not candidates:
        for one in found:
            one.reason = "reference; no other model was trained"
        return reference, reference
    champion = max(candidates, key=lambda one: value[one.name])
    for one in found:
        one.reason = "reference" if one.is_reference else (
            f"{metric} {value[one.name]:.4g} on valid, {champion.name} has {value[champion.name]:.4g}"
        )  # fmt: skip
    ahead = gain(champion.valid, reference.valid, metric, pick, seed)
    better = ahead.low > 0
    champion.reason = (
        f"{'beats' if better else 'does not surely beat'} {reference.name}: {metric} better by "
        f"{ahead.mean:.4g} [{ahead.low:.4g}, {ahead.high:.4g}] on valid"
    )
    return (champion if better else reference), champion


def _diversified(
    panel: Panel,
    choices: Choices,
    found: list[Heard],
    published: Heard,
    task: Task,
    strength: float,
) -> Heard:
    """The published lists reordered, and what that costs: beside the others, not to choose from."""
    started = time.perf_counter()
    mix = Diverse(published.mix, strength)
    said = mix.say(panel, {name: f"next_said_{name}" for name in mix.members})
    took = published.answer_seconds + time.perf_counter() - started
    judged = panel.judge(said, choices.questions("test"), choices.known("test"))
    told = ", ".join(
        f"{name} {_figure(after)} instead of {_figure(before)}"
        for name, after, before in (
            (task.metric, judged.mean(task.metric), published.test.mean(task.metric)),
            *((name, judged.of_lists[name], published.test.of_lists[name])
              for name in ("distance_at_10", "coverage_at_10", "novelty_at_10")),
        )
    )  # fmt: skip
    reason = f"the lists of {published.name} reordered by diversity = {strength:g}: {told} on test"
    one = Heard(DIVERSE, "ensemble", mix, None, published.seconds, took, judged, reason)
    found.append(one)
    return one


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _tell(progress: Progress, task: Task, champion: Heard, published: Heard) -> None:
    told = f"{champion.name} is published ({champion.reason})"
    if published.name == DIVERSE:
        told = f"{published.name} is published, {published.reason}"
    elif published is not champion:
        told = f"{published.name} is published; {champion.name}: {champion.reason}"
    progress.say(f"  {task.name}: {told}")


def score_task(con: duckdb.DuckDBPyConnection, task: Task, settings: Settings) -> int:
    """Let the published recommender speak to who is there now: counts anew, nothing is chosen anew."""
    model_id, text = con.execute(
        "select model_id, params from models.models where task = ? and is_published", [task.name]
    ).fetchall()[0]
    params, files = json.loads(text), kept(con, model_id)
    seen = "drop" if params["hides_seen"] else "keep"
    choices = Choices.load(con, task.name, seen, settings.seed)
    mix: Mix = Blend(params["weights"], params["shape"])
    if RERANKER in files:
        mix = Reranker(mix, files[RERANKER]["lightgbm.txt"].decode(), settings.threads)
    if "diversity" in params:
        mix = Diverse(mix, params["diversity"])
    names = dict.fromkeys([*REFERENCES, *mix.members])
    panel = Panel(con, names, choices.hides_seen, settings.seed, settings.threads)
    panel.fit(choices.known("latest"), files)
    con.execute(
        "update models.models set scored_at = now()::timestamp where model_id = ?", [model_id]
    )
    return publishing.publish(con, task, panel, choices, mix)
