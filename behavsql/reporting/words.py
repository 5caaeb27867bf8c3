"""What is said of a task in plain words: what will happen, how sure that is, what it is worth."""

from behavsql.reporting import numbers
from behavsql.reporting.context import METRICS, Task
from behavsql.reporting.numbers import about, count, figure, share


def headline(task: Task) -> tuple[str, str]:
    """The one figure of a task, and what it is of."""
    now = task.now
    hit = task.measured("hit_rate_at_10")
    if task.kind == "choice" and hit:
        return share(hit["value"]), "of users find what they then choose among ten items suggested"
    if now is None or not now.count_questions:
        return numbers.NONE, "nobody is asked about now"
    asked = numbers.plural(now.count_questions, "user")
    mean = now.predicted / now.count_questions
    if task.kind == "binary":
        return about(now.predicted), f"of {asked} {task.doing[0]} ({share(mean)})"
    if task.name == "next_visit":
        return numbers.days(mean), f"on average until {asked} come back, at most {task.horizon}"
    what = "spent" if task.name == "spend" else "expected"
    if task.name == "engagement":
        what = "engaged sessions"
    return about(now.predicted), f"{what} in all by {asked}, {figure(mean)} each"


def will(task: Task) -> list[tuple[str, bool]]:
    """A clause about what will happen; (words, whether they stand out)."""
    now = task.now
    if now is None or not now.count_questions:
        return []
    ahead = f"within {task.horizon} "
    if task.kind == "binary":
        return [(f"{ahead}about ", False), (about(now.predicted), True),
                (f" of {count(now.count_questions)} {task.doing[0]}", False)]  # fmt: skip
    if task.name == "spend":
        return [(f"{ahead}they will spend about ", False), (about(now.predicted), True)]
    if task.name == "engagement":
        return [(f"{ahead}they will have about ", False), (about(now.predicted), True),
                (" engaged sessions", False)]  # fmt: skip
    return []


def sureness(task: Task) -> str:
    """How near the predictions of the test rounds came to what happened."""
    past = [one for one in task.rounds if one.observed is not None and one.predicted > 0]
    hit = task.measured("hit_rate_at_10")
    if task.kind == "choice" and hit:
        span = numbers.between(hit["low"], hit["high"], share)
        return f"On the test moments, with every item ranked: {span or share(hit['value'])}."
    if not past:
        return "It has not been compared with what happened yet."
    predicted, observed = sum(one.predicted for one in past), sum(one.observed for one in past)
    ratios = sorted(one.observed / one.predicted for one in past)
    low, high = (f"{end:.2f}" for end in (ratios[0], ratios[-1]))
    span = f"{low} times" if low == high else f"{low} to {high} times"
    rounds = "In a past round" if len(past) == 1 else f"In {len(past)} past rounds"
    if task.name == "next_visit":
        asked = sum(one.count_questions for one in past)
        return (f"{rounds} users came back after {span} the days predicted "
                f"({figure(observed / asked)} against {figure(predicted / asked)}).")  # fmt: skip
    much = "as much" if task.kind == "amount" else "as many"
    return (
        f"{rounds} {span} {much} came as predicted ({about(observed)} against {about(predicted)})."
    )


def goodness(task: Task) -> str:
    """How much better than the best simple guess, on moments the model never saw."""
    if task.is_reference:
        return "No model was surely better than the simple guess, so the guess itself speaks."
    gain = task.gain()
    if not gain:
        return ""
    value, low, high = gain
    guess = f"the best simple guess ({task.reference['model']})"
    name = METRICS.get(task.metric, task.metric.replace("_", " "))
    if value <= 0:
        return f"On the test moments its {name} is not better than {guess}."
    span = numbers.between(low, high, share)
    surely = "" if low is None or low > 0 else "; that may be chance"
    what, side = ("error", "below") if task.is_lower_better else ("measure", "above")
    return f"Its {what} ({name}) lies {share(value)} {side} {guess}{f', {span}' if span else ''}{surely}."


def reach(task: Task) -> str:
    """What the tenth with the highest scores holds."""
    if not task.lift or task.is_reference or task.lift[0].get("captured_share") is None:
        return ""
    top = task.lift[0]
    if task.name == "next_visit":
        return f"The tenth predicted to be away longest stayed away {figure(top['label_mean'])} days on average."
    if task.kind == "binary":
        return f"The tenth it ranks highest holds {share(top['captured_share'])} of the {task.doing[1]}: {numbers.times(top['lift'])} a tenth chosen blindly."
    what = {"spend": "all that is spent", "engagement": "all engaged sessions"}.get(task.name, "the total")  # fmt: skip
    return f"The tenth it ranks highest holds {share(top['captured_share'])} of {what}: {numbers.times(top['lift'])} a tenth chosen blindly."


def worth(task: Task) -> str:
    """What acting on the best tenths brings; empty where nothing says what a success is worth."""
    best = task.profit
    if not best or best.get("profit") is None:
        return ""
    asked, acted, ends = (
        best["count_questions"],
        best["count_acted"],
        (best.get("low"), best.get("high")),
    )
    tenths = "tenth" if best["decile"] == 1 else f"{count(best['decile'])} tenths"
    each = f"{figure(best['profit'] / max(acted, 1))} per action"
    chance = "; that may be chance" if ends[0] is not None and ends[0] <= 0 else ""
    tested = f"{about(best['profit'])}{_span(*ends)} on the test questions, {each}{chance}."
    if not task.now or not asked:
        return f"Acting on the best {tenths} would have earned {tested}"
    rate = task.now.count_questions / asked
    now = f"{about(best['profit'] * rate)}{_span(*(end and end * rate for end in ends))}"
    return f"Acting on the best {tenths} now is worth about {now}. It would have earned {tested}"


def _span(low: float | None, high: float | None) -> str:
    span = numbers.between(low, high, about)
    return f" ({span})" if span else ""


def sentence(task: Task) -> str:
    """One sentence: what is predicted, how good that is, what it is worth."""
    value, of = headline(task)
    about = "" if value == numbers.NONE else "About "
    parts = [f"{about}{value} {of}."]
    parts += [part for part in (goodness(task), worth(task) or reach(task)) if part]
    return " ".join(parts)
