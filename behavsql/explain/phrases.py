"""How features are said to people: a phrase for each that is shipped, and ways for all others.

A phrase is a piece of SQL text in DuckDB's `format` language, said of the value `v`.
"""

import re
from typing import NamedTuple

from behavsql import describe

USUALLY = "{usually}"  # where the user's own rhythm is told, if it is known


class Phrase(NamedTuple):
    """What is said of a feature's value; None: as `some`."""

    some: str  # with {} for the number
    none: str  # of a missing value
    zero: str | None = None
    one: str | None = None
    below: str = "fewer than {} users"  # how it compares with who has more: {} = "4 in 5"
    above: str = "more than {} users"
    form: str = "{:,.0f}"  # of the number
    scale: float = 1.0  # the number is the value times this
    negative: str | None = None  # of a value below zero, whose size is then the number
    rhythm: str | None = None  # the feature that tells what is usual for this user


DAYS = {"below": "more recent than for {} users", "above": "longer ago than for {} users"}
HIGH = {"below": "lower than for {} users", "above": "higher than for {} users"}
LONG = {"below": "shorter than for {} users", "above": "longer than for {} users"}
MUCH = {"below": "less than {} users", "above": "more than {} users"}
IN_ALL = {**describe.WINDOWS, "lifetime": "in all"}

# What is counted: many, and one of them.
NOUNS = {
    "orders": ("orders", "order"), "purchases": ("items bought", "item bought"),
    "order_days": ("days with an order", "day with an order"),
    "active_days": ("active days", "active day"), "sessions": ("sessions", "session"),
    "events": ("events", "event"), "views": ("views", "view"), "clicks": ("clicks", "click"),
    "carts": ("additions to the cart", "addition to the cart"),
    "returns": ("returns", "return"), "actions": ("actions", "action"),
    "distinct_items": ("different items", "single item"),
    "distinct_categories": ("different categories", "single category"),
}  # fmt: skip
LAST = {"event": "last event", "activity": "last active", "first_event": "first seen"}
WEEKDAYS = {"Mon": "Monday", "Tue": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
            "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}  # fmt: skip

EXACT = {
    "has_open_cart": Phrase("something is left in the cart", "nothing in the cart", "nothing is left in the cart"),
    "count_favourite_item": Phrase("{} events with the favourite item", "no item yet", one="no item met twice"),
    "count_events_on_last_day": Phrase("{} events on the last day", "no event yet", one="1 event on the last day"),
    "session_seconds_on_last_day": Phrase("{} seconds in sessions on the last day", "no event yet", "no time in sessions on the last day", **MUCH),
    "active_days_share": Phrase("active on {} of the days since the first", "no active day yet", form="{:.0f}%", scale=100, **HIGH),
    "bounce_share": Phrase("{} of the sessions ended after one event", "no session yet", "no session ended after one event", form="{:.0f}%", scale=100, **HIGH),
    "favourite_item_share": Phrase("{} of the events went to one item", "no item yet", form="{:.0f}%", scale=100, **HIGH),
    "favourite_category_share": Phrase("{} of the events went to one category", "no category yet", form="{:.0f}%", scale=100, **HIGH),
    "item_concentration": Phrase("spread over items: {} on a scale where 1 is always the same", "no item yet", form="{:.2f}", **HIGH),
    "category_concentration": Phrase("spread over categories: {} on a scale where 1 is always the same", "no category yet", form="{:.2f}", **HIGH),
    "returned_value_share": Phrase("sent back {} of what was bought", "nothing bought yet", "sent nothing back", form="{:.0f}%", scale=100, **HIGH),
    "visit_due_ratio": Phrase("{} of the usual time between visits has passed", "no second visit yet", form="{:,.0f}%", scale=100, **HIGH),
    "order_due_ratio": Phrase("{} of the usual time between orders has passed", "no second order yet", form="{:,.0f}%", scale=100, **HIGH),
    "visit_overdue_deviations": Phrase(
        "the next visit is overdue by {} times its usual variation", "no second visit yet",
        form="{:,.1f}", negative="the next visit is not due yet", **HIGH,
    ),
    "order_overdue_deviations": Phrase(
        "the next order is overdue by {} times its usual variation", "no second order yet",
        form="{:,.1f}", negative="the next order is not due yet", **HIGH,
    ),
    "events_7d_change": Phrase(
        "{} events more in the last 7 days than in the weeks before", "no event yet",
        "as many events in the last 7 days as in the weeks before",
        negative="{} events fewer in the last 7 days than in the weeks before", **HIGH,
    ),
    "value_30d_change": Phrase(
        "spent {} more in the last 30 days than in the months before", "nothing bought yet",
        "spent as much in the last 30 days as in the months before",
        negative="spent {} less in the last 30 days than in the months before", **HIGH,
    ),
    "item_popularity_log_mean": Phrase("how popular the items met are: {} (log)", "no item yet", form="{:.1f}", **HIGH),
}  # fmt: skip


def phrase(feature: str) -> Phrase:
    """The phrase of a number; of features nobody shipped it is made of their name and comment."""
    if feature in EXACT:
        return EXACT[feature]
    for pattern, make in PATTERNS:
        if match := re.fullmatch(pattern, feature):
            return make(*match.groups())
    return _other(feature)


def _count(what: str, window: str) -> Phrase:
    many, one = NOUNS.get(what, (what.replace("_", " "), what.replace("_", " ").removesuffix("s")))
    when = IN_ALL[window]
    return Phrase(
        f"{{}} {many} {when}", f"no {many} {when}", f"no {many} {when}", f"1 {one} {when}"
    )


def _since(what: str) -> Phrase:
    words = what.replace("_", " ")
    last = LAST.get(what, words if what.startswith("first_") else f"last {words}")
    rhythm = {"purchase": "order_gap_mean_days", "activity": "visit_gap_mean_days"}.get(what)
    thing = what.removeprefix("first_").replace("_", " ")
    return Phrase(
        f"{last} {{}} days ago", f"no {thing} yet", f"{last} less than a day ago",
        f"{last} 1 day ago", rhythm=rhythm, **DAYS,
    )  # fmt: skip


def _gap(what: str, which: str) -> Phrase:
    said = {
        "mean": f"{{}} days between {what}s on average", "max": f"{{}} days between two {what}s at most",
        "last": f"{{}} days between the last two {what}s",
        "deviation": f"the days between {what}s vary by {{}}",
    }[which]  # fmt: skip
    return Phrase(said, f"no second {what} yet", **LONG)


def _share(what: str) -> Phrase:
    when = {"night": "at night (0-6 UTC)", "morning": "in the morning (6-12 UTC)",
            "afternoon": "in the afternoon (12-18 UTC)", "evening": "in the evening (18-24 UTC)",
            "weekend": "at weekends"}  # fmt: skip
    told = when.get(what) or (
        f"on {what.capitalize()}s" if what.endswith("day") else f"that were {what}s"
    )
    return Phrase(
        f"{{}} of the events {told}", "no event yet", f"no events {told}", form="{:.0f}%", scale=100,
        **HIGH,
    )  # fmt: skip


def _value(what: str | None, window: str) -> Phrase:
    did = "sent back goods for" if what else "spent"
    nothing = "sent nothing back" if what else "spent nothing"
    when = IN_ALL[window]
    return Phrase(f"{did} {{}} {when}", f"{nothing} {when}", f"{nothing} {when}", **MUCH)


def _per(many: str, one: str, window: str | None) -> Phrase:
    when = f" {IN_ALL[window]}" if window else ""
    many, one = many.replace("_", " "), one.replace("_", " ")
    said = f"spent {{}} per {one}{when}" if many == "value" else f"{{}} {many} per {one}{when}"
    return Phrase(said, f"no {one}{when}", form="{:,.2f}", **HIGH)


def _pace(what: str, days: str, than: str) -> Phrase:
    before = (
        "the usual pace since the first event"
        if than == "lifetime"
        else f"the pace of the last {than} days"
    )
    things = "spending" if what == "value" else what.replace("_", " ")
    return Phrase(
        f"{things} in the last {days} days at {{}} of {before}", f"no {things} before to compare with",
        f"no {things} in the last {days} days", form="{:,.0f}%", scale=100, **HIGH,
    )  # fmt: skip


def _before(task: str) -> Phrase:
    word = task.replace("_", " ")
    return Phrase(f"{word} in the window before: {{}}", f"{word} in the window before: not known",
                  f"{word} in the window before: none", form="{:,.6g}", **HIGH)  # fmt: skip


PATTERNS = (
    (r"count_(.+)_(1d|7d|30d|90d|lifetime)", _count),
    (r"days_since_(?:last_)?(.+)", _since),
    (r"(visit|order)_gap_(mean|max|last|deviation)_days", _gap),
    (r"(night|morning|afternoon|evening|weekend|.+day)_event_share", _share),
    (r"(purchase|view|action)_event_share", _share),
    (r"(returned_)?value_(1d|7d|30d|90d|lifetime)", _value),
    (r"(.+)_per_(.+?)(?:_(1d|7d|30d|90d|lifetime))?", _per),
    (r"(.+)_(\d+)d_to_(?:(lifetime)|(\d+)d)_ratio", lambda w, d, a, b: _pace(w, d, a or b)),
    (r"(.+)_last_window", _before),
)


def _other(feature: str) -> Phrase:
    """By the first clause of its comment, a share in per cent, else by its name."""
    comment = describe.describe(feature)
    is_share = bool(comment) and "(0-1)" in comment
    words = re.split(r"[,;(:]", comment)[0].strip() if comment else feature.replace("_", " ")
    form, scale = ("{:.0f}%", 100.0) if is_share else ("{:,.6g}", 1.0)
    words = words.replace("{", "{{").replace("}", "}}")
    return Phrase(f"{words}: {{}}", f"{words}: not known", form=form, scale=scale, **HIGH)
