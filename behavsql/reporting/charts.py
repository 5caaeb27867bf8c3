"""The charts of the page: each takes numbers by name and gives a Figure, with the same numbers as a table.

Bars begin at zero, intervals are drawn, and lines are named where they end, not in a legend.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from behavsql.reporting import numbers
from behavsql.reporting.blocks import Figure, Table
from behavsql.reporting.svg import CHAR, Axis, Plot, axis, ticks

Form = Callable[[object], str]


@dataclass(frozen=True)
class Words:
    """What a chart is called: key (unique on the page), what it shows, how to read it."""

    key: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A line: its points (x, y or None), its name at its end, and whether it is what matters."""

    points: Sequence[tuple[float, float | None]]
    name: str = ""
    class_: str = "la"
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Mark:
    """A place on a curve worth naming."""

    x: float
    y: float
    text: str


def axis_form(form: Form) -> Form:
    """How the round values of an axis are written whose marks are written so."""
    return numbers.percent if form is numbers.share else numbers.tick


def figure(words: Words, plot: Plot, table: Table, text: str = "") -> Figure:
    """The drawing with its words and its numbers."""
    svg = plot.svg(words.key, words.title, text or words.note or table.caption)
    return Figure(words.title, words.note, svg, table)


def curve(
    words: Words, lines: Sequence[Line], x: Axis, y: Axis, table: Table,
    marks: Sequence[Mark] = (), text: str = "", rug: Sequence[tuple[float, float]] = (),
) -> Figure:  # fmt: skip
    """Lines over a measure. rug: where rows lie along x, and which share of them."""
    longest = max((len(line.name) for line in lines), default=0)
    plot = Plot(x, y, right=max(longest * CHAR + 8, 14))
    plot.grid()
    _rug(plot, rug)
    for line in lines:
        if line.band:
            plot.band(line.band)
    for line in lines:
        plot.line(line.points, line.class_)
    _name_ends(plot, lines)
    for mark in marks:
        _mark(plot, mark)
    return figure(words, plot, table, text)


def _rug(plot: Plot, places: Sequence[tuple[float, float]]) -> None:
    """A tick on the floor at each place, as tall as the share of the rows that lie there."""
    floor, most = plot.height - plot.bottom, max((share for _, share in places), default=0) or 1
    for value, share in places:
        x = plot.x(value)
        plot.add("line", x1=x, x2=x, y1=floor - 3 - 19 * share / most, y2=floor, class_="ws")


def _name_ends(plot: Plot, lines: Sequence[Line]) -> None:
    """Names of lines behind their last point, moved apart where they would touch."""
    named = []
    for line in lines:
        known = [(x, y) for x, y in line.points if y is not None]
        if line.name and known:
            named.append([plot.y(known[-1][1]) + 4, plot.x(known[-1][0]) + 5, line])
    named.sort(key=lambda one: one[0])
    for before, this in itertools.pairwise(named):
        this[0] = max(this[0], before[0] + 13)
    low = plot.height - plot.bottom + 2
    for after, this in zip([[low + 13], *reversed(named)], reversed(named), strict=False):
        this[0] = min(this[0], after[0] - 13 if after[0] > low else this[0], low)
    for y, x, line in named:
        plot.add("text", line.name, x=x, y=y, class_="ta" if line.class_ == "la" else "tm")


def _mark(plot: Plot, mark: Mark) -> None:
    plot.dot(mark.x, mark.y)
    half = len(mark.text) * CHAR / 2
    x = plot.x(mark.x)
    anchor = "start" if x - half < plot.left else "end" if x + half > plot.width - 4 else "middle"
    up = plot.y(mark.y) - plot.top > 14
    plot.text(mark.x, mark.y, mark.text, "ta", anchor, dy=-9 if up else 18)


def columns(
    words: Words, bars: Sequence[tuple[str, float | None]], y: Axis, table: Table, *,
    x_name: str = "", spans: Sequence[tuple[float, float] | None] = (), strong: int = 1,
    reference: tuple[float, str] | None = None, value: Form | None = None,
) -> Figure:  # fmt: skip
    """Upright bars from zero. spans: intervals; strong: so many first bars matter; a line to compare with."""
    x = Axis(0, len(bars), [], str, x_name)
    plot = Plot(x, y)
    plot.grid()
    wide = min((plot.width - plot.left - plot.right) / max(len(bars), 1) * 0.72, 44)
    floor = plot.height - plot.bottom
    for place, (label, height) in enumerate(bars):
        middle = plot.x(place + 0.5)
        plot.add("text", label, x=middle, y=floor + 15, class_="tm", text_anchor="middle")
        if height is None:
            continue
        top, zero = plot.y(height), plot.y(0)
        plot.add("rect", x=middle - wide / 2, y=min(top, zero), width=wide, height=abs(zero - top),
                 class_="fa" if place < strong else "fs")  # fmt: skip
        span = spans[place] if place < len(spans) else None
        if span:
            plot.add(
                "line", x1=middle, x2=middle, y1=plot.y(span[0]), y2=plot.y(span[1]), class_="lw"
            )
        if value and place < strong:
            plot.add("text", value(height), x=middle, y=plot.y(max(height, span[1] if span else height)) - 5,
                     class_="ta", text_anchor="middle")  # fmt: skip
    if reference:
        plot.rule(0, reference[0], len(bars), reference[0])
        plot.text(len(bars), reference[0], reference[1], anchor="end", dy=-5)
    return figure(words, plot, table)


def ranking(
    words: Words, bars: Sequence[tuple[str, float]], form: Form, table: Table, *, strong: int = 0,
    spans: Sequence[tuple[float, float] | None] = (),
) -> Figure:  # fmt: skip
    """Lying bars from zero, one below the other; above each its name to the left, its value to the right."""
    row, top = 31, 4
    ends = [value for _, value in bars] + [edge for span in spans if span for edge in span]
    x = Axis(min([0.0, *ends]), max([0.0, *ends]) or 1.0, [], str)
    plot = Plot(
        x,
        Axis(0, 1, [], str),
        left=1,
        right=1,
        top=top,
        bottom=0,
        height=top + row * max(len(bars), 1),
    )
    for place, (label, value) in enumerate(bars):
        tone = "a" if not strong or place < strong else "s"
        span = spans[place] if place < len(spans) else None
        _lying(plot, top + place * row, label, value, form(value), tone, span)
    return figure(words, plot, table)


def _lying(
    plot: Plot, y: float, label: str, value: float, told: str, tone: str,
    span: tuple[float, float] | None,
) -> None:  # fmt: skip
    left, right = sorted((plot.x(0), plot.x(value)))
    room = int((plot.width - len(told) * CHAR - 14) / CHAR)
    plot.add("text", shortened(label, room), x=1, y=y + 12, class_="t")
    plot.add("text", told, x=plot.width - 1, y=y + 12, text_anchor="end",
             class_="ta" if tone == "a" else "tm")  # fmt: skip
    plot.add("rect", x=left, y=y + 18, width=max(right - left, 0.8), height=6, class_=f"f{tone}")
    if span:
        plot.add("line", x1=plot.x(span[0]), x2=plot.x(span[1]), y1=y + 21, y2=y + 21, class_="lw")


def shortened(text: str, most: int) -> str:
    """A name that fits.

    >>> shortened("count_distinct_categories_lifetime", 12)
    'count_disti…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True)
class Measured:
    """A row of a comparison: name, value, its interval, what it is (best, other, reference)."""

    name: str
    value: float
    low: float | None
    high: float | None
    role: str = "other"


def intervals(
    words: Words, rows: Sequence[Measured], form: Form, name: str, table: Table
) -> Figure:
    """Values with their intervals, one below the other; references are squares, in grey."""
    row, top, bottom = 24, 8, 40
    known = [edge for one in rows for edge in (one.value, one.low, one.high) if edge is not None]
    x = axis(known, axis_form(form), name, most=4)
    left = min(max(len(one.name) for one in rows) * CHAR + 14, 150)
    height = top + row * len(rows) + bottom
    plot = Plot(x, Axis(0, len(rows), [], str), left=left, top=top, bottom=bottom, height=height, right=16)  # fmt: skip
    plot.grid(x_lines=True)
    for place, one in enumerate(rows):
        y = len(rows) - place - 0.5
        is_best, is_reference = one.role == "best", one.role == "reference"
        tone = "a" if is_best else "r" if is_reference else "s"
        plot.add("text", shortened(one.name, 22), x=left - 8, y=plot.y(y) + 4, text_anchor="end",
                 class_="ta" if is_best else "tm" if is_reference else "t")  # fmt: skip
        if one.low is not None and one.high is not None:
            plot.rule(one.low, y, one.high, y, class_=f"w{tone}")
        if is_reference:
            plot.add("rect", x=plot.x(one.value) - 3.5, y=plot.y(y) - 3.5, width=7, height=7, class_="dr")  # fmt: skip
        else:
            plot.dot(one.value, y, class_=f"d{tone}", r=4.5 if is_best else 3.5)
    return figure(words, plot, table)


def reliability(
    words: Words, points: Sequence[tuple[float, float, float | None, float | None]], table: Table
) -> Figure:
    """Said against seen, with intervals of what was seen; on the diagonal both agree."""
    most = max([0.02, *(edge for point in points for edge in point if edge is not None)])
    at = ticks(0, min(most, 1), 5)
    both = Axis(0, min(at[-1], 1.0), [tick for tick in at if tick <= 1], numbers.percent)
    x, y = (
        Axis(both.low, both.high, both.at, both.form, name) for name in ("predicted", "observed")
    )
    plot = Plot(x, y)
    plot.grid()
    plot.rule(0, 0, both.high, both.high)
    turned = plot.x(both.high * 0.97), plot.y(both.high * 0.97)
    plot.add("text", "exact", x=turned[0] - 4, y=turned[1] - 6, class_="tm", text_anchor="end")
    for predicted, _, low, high in points:
        if low is not None and high is not None:
            plot.rule(predicted, max(low, 0), predicted, min(high, both.high), class_="wa")
    plot.line([(predicted, observed) for predicted, observed, *_ in points], "lt")
    for predicted, observed, *_ in points:
        plot.dot(predicted, observed, r=3.5, tip=f"predicted {numbers.share(predicted)}, observed {numbers.share(observed)}")  # fmt: skip
    return figure(words, plot, table)
