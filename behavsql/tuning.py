"""Looking for a model's best options: trials on train, compared on the half of valid that fits.

Neither the half that picks the champion nor test is read. Trials are kept in `models.trials`, each
as soon as it is done, so that a search that was cut short goes on where it was: a trial depends on
the seed, its number and the trials before it, nothing else.
"""

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import duckdb
import numpy as np

from behavsql.calibration import Calibrator
from behavsql.config import Settings
from behavsql.errors import ConfigError
from behavsql.frames import Asked, Table
from behavsql.models.base import Model, at_most, loss
from behavsql.models.parts.space import OneOf, Range
from behavsql.progress import Progress

if TYPE_CHECKING:
    import optuna

TRIAL_ROWS = 50_000  # of train, that a trial fits on at most
UNPRUNED = 5  # trials that run to their end before any is given up
FIRST_STEPS = 3  # times that a fit tells its loss before it may be given up
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"


class _GivenUp(Exception):
    """Raised inside a fit that is not worth finishing."""


@dataclass
class Trial:
    """One set of options and what came of it; number 0 has the model's defaults."""

    number: int
    options: Mapping[str, object]
    value: float | None = None  # the loss; of a pruned trial the last one seen; None: it failed
    state: str = COMPLETE
    seconds: float = 0.0
    losses: dict[int, float] = field(default_factory=dict)  # 1, 2 ... -> valid loss, as it was told


@dataclass(frozen=True)
class Search:
    """What is searched: one model's options, on these rows."""

    cls: type[Model]
    train: Table
    valid: Table  # the half that fits
    settings: Settings
    given: Mapping[str, object] = field(default_factory=dict)  # options that are not searched

    @classmethod
    def of(
        cls, model: type[Model], asked: Asked, settings: Settings, given: Mapping[str, object]
    ) -> Self:
        train = at_most(asked.table.rows(asked.split("train")), TRIAL_ROWS, settings.seed)
        valid = asked.table.rows(asked.split("valid") & asked.is_fit_half)
        return cls(model, train, valid, settings, given)

    @property
    def space(self) -> dict[str, Range]:
        """Option -> where it is looked for; the classes of a label are weighted where it has two."""
        is_binary = self.train.kind == "binary"
        return {name: where for name, where in self.cls.SPACE.items()
                if name not in self.given and (is_binary or name != "class_weight")}  # fmt: skip

    @cached_property
    def id(self) -> str:
        """A digest of all that trials depend on, but for their number."""
        told = (self.cls.name, self.space, self.train.kind, self.train.features.columns,
                self.settings.seed, self.settings.search,
                *sorted(self.given.items()))  # fmt: skip
        found = hashlib.sha256(repr(told).encode())
        for table in (self.train, self.valid):
            found.update(table.features.hash_rows(seed=1).to_numpy().tobytes())
            found.update(table.label.tobytes() + table.last_window.tobytes())
        return found.hexdigest()[:16]

    def run(self, trial: Trial, watch: Callable[[int, float], None] | None) -> None:
        """Fit with the trial's options and write down what came of it."""
        from threadpoolctl import threadpool_limits

        begun = time.monotonic()
        model = self.cls(
            self.train.kind,
            self.settings.seed,
            self.settings.threads,
            {**self.given, **trial.options},
        )
        model.watch = watch
        try:
            with threadpool_limits(1, user_api="blas"):
                model.fit(self.train, self.valid)
                trial.value = self._loss(model.predict(self.valid))
        except _GivenUp:
            trial.state, trial.value = PRUNED, trial.losses[max(trial.losses)]
        except Exception:  # whatever a library says of options that do not go together
            trial.state = FAILED
        if trial.value is not None and not np.isfinite(trial.value):
            trial.state, trial.value = FAILED, None
        trial.seconds = time.monotonic() - begun

    def _loss(self, answer: np.ndarray) -> float:
        """The loss on the fitting half; of probabilities, once a sigmoid has been laid through them.

        What calibration will mend, such as the shift of weighted classes, is nothing against a trial.
        """
        kind, label = self.train.kind, self.valid.label
        if kind == "binary":
            answer = Calibrator.sigmoid(answer, label).transform(answer)
        return loss(kind, label, answer)


def check_installed() -> None:
    """ConfigError where optuna, which draws the trials, is not there."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            'settings.tune: it is true and optuna is not installed; tuning needs the extra "tuning". '
            'Run `pip install "behavsql[tuning]"`, or do not tune.'
        )


def best_options(
    con: duckdb.DuckDBPyConnection, model: type[Model], asked: Asked, settings: Settings,
    progress: Progress, seconds: float | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:  # fmt: skip
    """The options of the best of `settings.trials` trials; `given`, where the defaults of
    the others are the best.

    seconds: no trial begins after them, nor where it would end after them if it took as long as the
    longest before it. Results then depend on the machine.
    """
    search, task = Search.of(model, asked, settings, given), asked.table.task
    if not search.space:
        return dict(given)
    # Transactions of its own: a training that is cut short takes back all it did, but not trials.
    with closing(con.cursor()) as store, progress.step(f"tune {task} / {model.name}") as line:
        trials = _read(store, task, search)
        held = len(trials)
        for trial in _trials(search, trials, seconds):
            _write(store, task, search, trial)
            trials.append(trial)
            progress.running(f"tune {task} / {model.name}: {len(trials)} of {settings.trials}")
        trials = trials[: settings.trials]
        best = min(
            (trial for trial in trials if trial.state == COMPLETE),
            key=lambda trial: (trial.value, trial.number), default=Trial(0, {}),
        )  # fmt: skip
        line.rows, line.note = len(search.train), _told(trials, held, best)
    return {**given, **best.options}


def _trials(search: Search, held: Sequence[Trial], seconds: float | None) -> Iterator[Trial]:
    """The trials that are still to come, run one after the other. `held` grows with them."""
    begun = time.monotonic()
    while len(held) < search.settings.trials:
        longest = max((trial.seconds for trial in held), default=0.0)
        if seconds is not None and held and time.monotonic() - begun + longest > seconds:
            return
        trial = Trial(len(held), {})
        if trial.number == 0:
            search.run(trial, None)
        else:
            drawn = _drawn(search, held, trial.number)
            trial.options = dict(drawn.params)

            def watch(step: int, told: float, trial: Trial = trial, drawn=drawn) -> None:
                trial.losses[step] = float(told)
                drawn.report(float(told), step)
                if drawn.should_prune():
                    raise _GivenUp

            search.run(trial, watch)
        yield trial


def _drawn(search: Search, held: Sequence[Trial], number: int) -> "optuna.Trial":
    """The options of the next trial, from what those before it came to.

    The study is made anew each time, so that one that goes on is like one that never stopped.
    Source: Bergstra et al. 2011 (tree-structured Parzen estimator); pruned where the loss so far is
    above the median of the other trials' at that step.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    seed = int(np.random.SeedSequence([search.settings.seed, number]).generate_state(1)[0])
    study = optuna.create_study(
        sampler=samplers[search.settings.search](seed=seed),
        pruner=optuna.pruners.MedianPruner(UNPRUNED, FIRST_STEPS),
    )
    spread = {name: _distribution(where) for name, where in search.space.items()}
    states = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}
    for trial in held[1:number]:
        study.add_trial(optuna.trial.create_trial(
            state=optuna.trial.TrialState[states[trial.state]],
            value=trial.value, params=dict(trial.options), distributions=spread,
            intermediate_values=trial.losses,
        ))  # fmt: skip
    return study.ask(spread)


def _distribution(where: Range) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if isinstance(where, OneOf):
        return distributions.CategoricalDistribution(where.values)
    is_whole = isinstance(where.low, int) and isinstance(where.high, int)
    cls = distributions.IntDistribution if is_whole else distributions.FloatDistribution
    return cls(where.low, where.high, log=where.log)


def _read(con: duckdb.DuckDBPyConnection, task: str, search: Search) -> list[Trial]:
    """The trials of this very search; those of another, on other rows or options, are forgotten."""
    con.execute(
        "delete from models.trials where task = ? and model = ? and search <> ?",
        [task, search.cls.name, search.id],
    )
    rows = con.execute(
        "select trial, options, value, state, seconds, losses from models.trials "
        "where task = ? and model = ? order by trial", [task, search.cls.name]
    ).fetchall()  # fmt: skip
    return [
        Trial(number, json.loads(options), value, state, seconds,
              {int(step): told for step, told in json.loads(losses).items()})
        for number, options, value, state, seconds, losses in rows
    ]  # fmt: skip


def _write(con: duckdb.DuckDBPyConnection, task: str, search: Search, trial: Trial) -> None:
    row = [
        task, search.cls.name, trial.number, json.dumps(trial.options), trial.value, trial.state,
        trial.seconds, json.dumps(trial.losses), search.id, trial.seconds,
    ]  # fmt: skip
    con.execute(
        "insert into models.trials (task, model, trial, options, value, state, seconds, losses, "
        "search, started_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "now()::timestamp - to_microseconds((? * 1e6)::bigint))",
        row,
    )


def _told(trials: Sequence[Trial], held: int, best: Trial) -> str:
    """What a search came to, in one line."""
    count = {state: sum(one.state == state for one in trials) for state in (PRUNED, FAILED)}
    more = [f"{number} {state}" for state, number in count.items() if number]
    more += [f"{min(held, len(trials))} held"] if held else []
    told = f"{len(trials)} trials" + (f" ({', '.join(more)})" if more else "")
    if not trials or best.value is None or trials[0].value is None:
        return told
    if best.number == 0:
        return f"{told}: the defaults are best, loss {best.value:.5g}"
    return f"{told}: loss {trials[0].value:.5g} -> {best.value:.5g}"
