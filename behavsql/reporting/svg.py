"""Marks on a plane with two axes, as inline SVG: no script, no font, no colour of its own.

Colours and line widths are classes that templates/style.css gives a light and a dark form: `a` what
matters (accent), `r` what it is compared with (grey), `g` the grid, `t` text, `tm` muted text.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 216
CHAR = 6.3  # width of a letter of the axes' size, about


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; children and attributes are escaped, None leaves an attribute out.

    `class_` is written class, and other underscores become hyphens: `text_anchor`.

    >>> tag("text", "a < b", class_="t", x=1.25)
    Markup('<text class="t" x="1.2">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-") if key != "viewBox" else key}="{escape(coordinate(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if children else f"<{name}{written}/>")


def coordinate(value: object) -> object:
    """A place to a tenth of a pixel.

    >>> coordinate(3.14159), coordinate(2.0), coordinate("a")
    ('3.1', '2', 'a')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0", 1) if abs(value) < 0.05 else (
        f"{value:.1f}".removesuffix(".0")
    )  # fmt: skip


def slug(name: str) -> str:
    """A name as a part of an id; different names stay different.

    >>> slug("next_visit"), slug("last seen")
    ('next_visit', 'last-seen-082f')
    """
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values from below `low` to above `high`, at most about so many.

    >>> ticks(0, 0.83), ticks(12, 47, 4), ticks(3, 3)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 20.0, 40.0, 60.0], [3.0, 4.0])
    """
    if high <= low:
        return [float(low), float(low) + (abs(low) or 1) / (3 if low else 1)]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 2.5, 5, 10) if power * by >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Axis:
    """What one direction shows: from, to, the values that are named, how, and what it is."""

    low: float
    high: float
    at: Sequence[float]
    form: Callable[[float], str]
    name: str = ""


def axis(
    values: Iterable[float], form: Callable[[float], str], name: str = "", *, most: int = 5,
    zero: bool = False, fit: bool = False,
) -> Axis:  # fmt: skip
    """An axis for these values. zero: begins, or ends, at zero; fit: ends where the values end."""
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    at = ticks(low, high, most)
    if fit and high > low:
        return Axis(low, high, [tick for tick in at if low <= tick <= high], form, name)
    return Axis(at[0], at[-1], at, form, name)


class Plot:
    """A plane to draw on; places are given in the axes' own values."""

    def __init__(
        self, x: Axis, y: Axis, *, left: float | None = None, right: float = 12, top: float = 22,
        bottom: float = 40, width: float = WIDTH, height: float = HEIGHT,
    ) -> None:  # fmt: skip
        self.x_axis, self.y_axis = x, y
        widest = max((len(y.form(tick)) for tick in y.at), default=0)
        self.left = left if left is not None else max(widest * CHAR + 10, 24)
        self.right, self.top, self.bottom = right, top, bottom
        self.width, self.height = width, height
        self.marks: list[Markup] = []

    def x(self, value: float) -> float:
        """Where a value lies from the left."""
        return self.left + self._along(self.x_axis, value) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Where a value lies from above."""
        whole = self.height - self.top - self.bottom
        return self.top + (1 - self._along(self.y_axis, value)) * whole

    @staticmethod
    def _along(axis: Axis, value: float) -> float:
        return (value - axis.low) / (axis.high - axis.low or 1)

    def add(self, name: str, *children: object, **attributes: object) -> None:
        """A mark by its own coordinates."""
        self.marks.append(tag(name, *children, **attributes))

    def line(self, points: Sequence[tuple[float, float | None]], class_: str = "la") -> None:
        """A line through points; one without a value is a gap, a lone one a dot."""
        part: list[tuple[float, float]] = []
        for x, y in [*points, (0, None)]:
            if y is not None:
                part.append((x, y))
                continue
            if len(part) == 1:
                self.dot(*part[0], class_=f"d{class_[1:]}", r=2)
            elif part:
                steps = " ".join(
                    f"{coordinate(self.x(x))},{coordinate(self.y(y))}" for x, y in part
                )
                self.add("polyline", points=steps, class_=class_)
            part = []

    def band(self, points: Sequence[tuple[float, float, float]], class_: str = "ba") -> None:
        """An area between a low and a high value (x, low, high)."""
        there = [(self.x(x), self.y(high)) for x, _, high in points]
        back = [(self.x(x), self.y(low)) for x, low, _ in reversed(points)]
        if len(there) > 1:
            steps = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in there + back)
            self.add("polygon", points=steps, class_=class_)

    def dot(self, x: float, y: float, class_: str = "da", r: float = 4, tip: str = "") -> None:
        """A point; `tip` is shown by a pointer."""
        title = [tag("title", tip)] if tip else []
        self.add("circle", *title, cx=self.x(x), cy=self.y(y), r=r, class_=class_)

    def rule(self, x1: float, y1: float, x2: float, y2: float, class_: str = "lr") -> None:
        """A straight line between two places."""
        self.add("line", x1=self.x(x1), y1=self.y(y1), x2=self.x(x2), y2=self.y(y2), class_=class_)

    def text(
        self, x: float, y: float, text: str, class_: str = "tm", anchor: str = "start",
        dx: float = 0, dy: float = 0,
    ) -> None:  # fmt: skip
        """A label at a place, moved by pixels."""
        self.add(
            "text", text, x=self.x(x) + dx, y=self.y(y) + dy, class_=class_,
            text_anchor=None if anchor == "start" else anchor,
        )  # fmt: skip

    def grid(self, y_lines: bool = True, x_lines: bool = False) -> None:
        """Lines, values and names of both axes; called before the marks, to lie below them."""
        x, y = self.x_axis, self.y_axis
        floor = self.height - self.bottom
        for tick in y.at:
            if y_lines:
                self.rule(x.low, tick, x.high, tick, class_="g0" if tick == 0 else "g")
            self.text(x.low, tick, y.form(tick), anchor="end", dx=-6, dy=4)
        for tick in x.at:
            if x_lines:
                self.rule(tick, y.low, tick, y.high, class_="g")
            self.add("text", x.form(tick), x=self.x(tick), y=floor + 15, class_="tm",
                     text_anchor=self._anchor(tick))  # fmt: skip
        if x.name:
            self.add("text", x.name, x=(self.left + self.width - self.right) / 2, y=floor + 33,
                     class_="tm", text_anchor="middle")  # fmt: skip
        if y.name:
            self.add("text", y.name, x=2, y=11, class_="tm")

    def _anchor(self, tick: float) -> str:
        """Labels at the very edge are kept inside."""
        half = len(self.x_axis.form(tick)) * CHAR / 2
        return "end" if self.x(tick) + half > self.width else "middle"

    def svg(self, key: str, title: str, text: str) -> Markup:
        """The whole drawing, with a title and a description for who does not see it."""
        return whole(key, title, text, self.marks, self.width, self.height)


def whole(
    key: str, title: str, text: str, marks: Iterable[Markup], width: float, height: float,
    class_: str = "chart", role: str = "img",
) -> Markup:  # fmt: skip
    """An svg element that names and describes itself; `key` makes its ids unique on the page.

    role: "group" where its marks are links, which an image could not have.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", text, id=f"{key}-desc"),
        *marks,
        viewBox=f"0 0 {coordinate(float(width))} {coordinate(float(height))}",
        role=role,
        aria_labelledby=f"{key}-title {key}-desc",
        class_=class_,
        width=width,
        height=height,
    )
