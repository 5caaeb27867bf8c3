"""A layered graph as SVG: columns of boxes that are links, curves between them; no crossing is free of charge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from behavsql.reporting.charts import shortened
from behavsql.reporting.svg import tag, whole

BOX, GAP, ROW, TALL, TOP = 106, 18, 27, 21, 34
SWEEPS = 6


@dataclass(frozen=True)
class Node:
    """A box: its name (unique), what stands in it, its column, where it leads, what a pointer shows."""

    name: str
    label: str
    layer: int
    href: str
    tip: str


def draw(key: str, title: str, text: str, layers: Sequence[str], nodes: Sequence[Node],
         edges: Sequence[tuple[str, str]]) -> Markup:  # fmt: skip
    """The graph. edges: (from, to) by names; those of unknown nodes are left out."""
    places = arranged(nodes, edges)
    marks = [
        tag("text", name, x=column * (BOX + GAP), y=14, class_="stage t")
        for column, name in enumerate(layers)
    ]
    marks += [_edge(places[a], places[b], a, b) for a, b in edges if a in places and b in places]
    marks += [_box(node, *places[node.name]) for node in nodes]
    height = max((y for _, y in places.values()), default=0) + ROW + 6
    width = len(layers) * (BOX + GAP) - GAP + 2
    return whole(key, title, text, marks, width, height, "chart graph", role="group")


def arranged(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Name -> the upper left corner. In each column nodes stand near what they are tied to.

    Source: the barycentre rule of Sugiyama, Tagawa and Toda 1981.
    """
    columns: dict[int, list[str]] = {}
    for node in nodes:
        columns.setdefault(node.layer, []).append(node.name)
    near: dict[str, list[str]] = {node.name: [] for node in nodes}
    for a, b in edges:
        if a in near and b in near:
            near[a].append(b)
            near[b].append(a)
    place = {name: float(row) for column in columns.values() for row, name in enumerate(column)}
    for sweep in range(SWEEPS):
        for layer in sorted(columns, reverse=bool(sweep % 2)):
            column = columns[layer]
            mean = {name: _mean([place[one] for one in near[name]], place[name]) for name in column}
            column.sort(key=lambda name: (mean[name], name))
            place |= {name: float(row) for row, name in enumerate(column)}
    return {
        name: (layer * (BOX + GAP), TOP + row * ROW)
        for layer, column in columns.items()
        for row, name in enumerate(column)
    }


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _edge(a: tuple[int, int], b: tuple[int, int], start: str, end: str) -> Markup:
    x1, y1, x2, y2 = a[0] + BOX, a[1] + TALL / 2, b[0], b[1] + TALL / 2
    if a[0] == b[0]:  # within a column: around its left side
        x1, bend = a[0], GAP * 0.6
        path = f"M{x1} {y1} C{x1 - bend:.0f} {y1} {x1 - bend:.0f} {y2} {x2} {y2}"
    else:
        middle = (x2 - x1) / 2
        path = f"M{x1} {y1} C{x1 + middle:.0f} {y1} {x2 - middle:.0f} {y2} {x2} {y2}"
    return tag("path", d=path, class_="edge", data_from=start, data_to=end)


def _box(node: Node, x: int, y: int) -> Markup:
    return tag(
        "a",
        tag("title", node.tip),
        tag("rect", x=x, y=y, width=BOX, height=TALL, rx=4),
        tag("text", shortened(node.label, 18), x=x + 5, y=y + 15),
        href=node.href, class_="node", data_step=node.name, aria_label=node.tip,
    )  # fmt: skip


def tips(reads: Mapping[str, Sequence[str]], name: str) -> str:
    """What a box says of what it reads."""
    known = reads.get(name, ())
    if len(known) > 6:
        return f"reads {', '.join(known[:5])} and {len(known) - 5} others"
    return f"reads {', '.join(known)}" if known else "reads the sources"
