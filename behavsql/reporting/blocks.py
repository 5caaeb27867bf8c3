"""What a section is made of; `templates/blocks.html` has a macro for each kind.

Texts are plain: the templates escape them. Only `Figure.svg` is markup, made by svg.py, which escapes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from behavsql.reporting import numbers


@dataclass(frozen=True)
class Cell:
    """A value in a table: as it is read, and what it is sorted by."""

    text: str
    sort: float | str | None = None
    is_number: bool = False


def cell(value: object, form=None) -> Cell:
    """A value as `form` writes it; numbers stand to the right and are sorted as numbers."""
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell(numbers.NONE, "", form is not None)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if form is None:
        return Cell(str(value))
    number = float(value)
    return Cell(form(value), number, True)


@dataclass(frozen=True)
class Prose:
    """A paragraph. tone: plain, quiet (a remark) or warning."""

    kind: ClassVar[str] = "prose"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str
    key: str
    level: int = 3


@dataclass(frozen=True)
class Fact:
    """One figure with what it is, and a remark."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Figures side by side."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Table:
    """Rows of cells under names; can be sorted by any column where there are several rows."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    strong: frozenset[int] = frozenset()  # rows that matter most
    anchors: Sequence[str] = ()  # ids of the rows, for links

    @property
    def numeric(self) -> list[bool]:
        """Per column, whether its values are numbers."""
        return [
            any(row[place].is_number for row in self.rows) for place in range(len(self.columns))
        ]


@dataclass(frozen=True)
class Figure:
    """A chart, what it says, and its numbers as a table."""

    kind: ClassVar[str] = "figure"
    title: str
    note: str
    svg: Markup
    table: Table
    is_wide: bool = False
    is_open: bool = False  # the table is shown at once


@dataclass(frozen=True)
class Grid:
    """Blocks side by side, as many as fit."""

    kind: ClassVar[str] = "grid"
    blocks: Sequence[object]


@dataclass(frozen=True)
class Code:
    """Something to type or paste."""

    kind: ClassVar[str] = "code"
    text: str
    caption: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when they are asked for."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[object]


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    kind: ClassVar[str] = "terms"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading and a place in its contents."""

    key: str
    title: str
    lead: str = ""
    blocks: list = field(default_factory=list)
    kicker: str = ""
    template: str = "section.html"
    extra: dict = field(default_factory=dict)  # what a template of its own asks for

    @property
    def headings(self) -> list[Heading]:
        """What stands below it in the contents."""
        return [block for block in self.blocks if isinstance(block, Heading)]


def table(
    caption: str, columns: Iterable[tuple[str, str, object]], rows: Iterable[dict], **more: object
) -> Table:
    """A table from rows by name. columns: (name in the row, heading, form of numbers or None)."""
    listed = list(columns)
    cells = [[cell(row.get(name), form) for name, _, form in listed] for row in rows]
    return Table(caption, [heading for _, heading, _ in listed], cells, **more)


def grid_of(blocks: Iterable[object]) -> list:
    """Figures that follow each other stand side by side."""
    grouped: list = []
    for block in blocks:
        if isinstance(block, Figure) and not block.is_wide:
            if grouped and isinstance(grouped[-1], list):
                grouped[-1].append(block)
            else:
                grouped.append([block])
        else:
            grouped.append(block)
    return [Grid(one) if isinstance(one, list) else one for one in grouped]
