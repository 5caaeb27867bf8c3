"""The marks and charts of the report: places, scales, names, and nothing that is not escaped."""

import doctest
import importlib
import pkgutil
import re

import pytest

from behavsql import reporting
from behavsql.reporting import charts, graph, numbers, svg
from behavsql.reporting.blocks import table
from behavsql.reporting.charts import Line, Mark, Measured, Words
from behavsql.reporting.graph import Node
from behavsql.reporting.svg import Axis, Plot, axis

MODULES = [found.name for found in pkgutil.iter_modules(reporting.__path__)]
NUMBERS = table("numbers", [("a", "a", numbers.count)], [{"a": 1}])
HOSTILE = """"><script>alert(1)</script><a href='javascript:x' onload="y"> & </svg>"""


@pytest.mark.parametrize("name", MODULES)
def test_the_doctests_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"behavsql.reporting.{name}")).failed == 0


def _rects(figure) -> list[dict[str, float]]:
    return [
        {name: float(value) for name, value in re.findall(r'(x|y|width|height)="([-\d.]+)"', rect)}
        for rect in re.findall(r"<rect[^>]*>", figure.svg)
    ]


def test_values_lie_where_the_axes_say() -> None:
    plot = Plot(Axis(0, 10, [0, 10], str), Axis(0, 1, [0, 1], str), left=40, right=10, top=20,
                bottom=30, width=350, height=250)  # fmt: skip
    assert (plot.x(0), plot.x(10), plot.x(5)) == (40, 340, 190)
    assert (plot.y(0), plot.y(1), plot.y(0.25)) == (220, 20, 170)


def test_bars_begin_at_zero_and_are_as_high_as_their_values() -> None:
    y = axis([5.0, 10.0, 0.0], numbers.tick, zero=True)
    assert y.low == 0
    figure = charts.columns(Words("k", "t"), [("a", 10.0), ("b", 5.0), ("c", 0.0)], y, NUMBERS)
    first, second, third = (rect["height"] for rect in _rects(figure))
    assert first == pytest.approx(2 * second, abs=0.2)
    assert third == 0
    assert len({rect["y"] + rect["height"] for rect in _rects(figure)}) == 1


def test_an_axis_of_bars_reaches_down_to_zero_and_up_from_below_it() -> None:
    assert axis([-3.0, -1.0], numbers.tick, zero=True).high == 0
    assert axis([3.0, 4.0], numbers.tick, zero=True).low == 0
    assert axis([3.0, 4.0], numbers.tick).low == 3


@pytest.mark.parametrize("values", [[], [None], [float("nan")], [1.0], [0.0], [1e-9, 2e-9], [1e12]])
def test_an_axis_has_room_whatever_the_values(values: list) -> None:
    made = axis(values, numbers.tick)
    assert made.low < made.high and len(made.at) >= 2


def test_a_ranking_draws_each_bar_in_proportion() -> None:
    figure = charts.ranking(Words("k", "t"), [("a", 8.0), ("b", 2.0)], numbers.count, NUMBERS)
    first, second = (rect["width"] for rect in _rects(figure))
    assert first == pytest.approx(4 * second, abs=0.2)


def test_a_ranking_of_values_below_zero_goes_to_the_left() -> None:
    figure = charts.ranking(Words("k", "t"), [("a", 4.0), ("b", -4.0)], numbers.figure, NUMBERS)
    first, second = _rects(figure)
    assert second["x"] + second["width"] == pytest.approx(first["x"], abs=0.2)
    assert "\N{MINUS SIGN}4.00" in figure.svg


def test_a_line_has_a_gap_where_a_value_is_missing_and_a_dot_where_one_is_alone() -> None:
    line = Line([(0, 1.0), (1, 2.0), (2, None), (3, 3.0), (4, None), (5, 1.0), (6, 1.0)])
    figure = charts.curve(
        Words("k", "t"), [line], Axis(0, 6, [], str), Axis(0, 4, [], str), NUMBERS
    )
    assert figure.svg.count("<polyline") == 2
    assert figure.svg.count("<circle") == 1


def test_lines_are_named_at_their_ends_apart_from_each_other() -> None:
    lines = [Line([(0, 1.0), (1, 2.0)], "one"), Line([(0, 0.0), (1, 2.01)], "two", "lr")]
    figure = charts.curve(Words("k", "t"), lines, Axis(0, 1, [], str), Axis(0, 4, [], str), NUMBERS)
    at = {
        name: float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', figure.svg)[1])
        for name in ("one", "two")
    }
    assert abs(at["one"] - at["two"]) >= 12


def test_intervals_are_drawn_and_references_are_squares() -> None:
    rows = [
        Measured("best", 0.4, 0.35, 0.45, "best"),
        Measured("guess", 0.5, None, None, "reference"),
    ]
    figure = charts.intervals(Words("k", "t"), rows, numbers.figure, "loss", NUMBERS)
    assert figure.svg.count('class="wa"') == 1 and 'class="wr"' not in figure.svg
    assert len(_rects(figure)) == 1


def test_what_is_exact_lies_on_the_diagonal() -> None:
    figure = charts.reliability(
        Words("k", "t"), [(0.1, 0.1, 0.05, 0.15), (0.8, 0.8, 0.7, 0.9)], NUMBERS
    )
    line = re.search(r'<line [^>]*class="lr"/>', figure.svg)[0]
    x1, y1, x2, y2 = (
        float(re.search(rf'{name}="([\d.]+)"', line)[1]) for name in ("x1", "y1", "x2", "y2")
    )
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', figure.svg):
        assert (float(x) - x1) / (x2 - x1) == pytest.approx((float(y) - y1) / (y2 - y1), abs=0.01)


def test_no_name_breaks_out_of_its_mark() -> None:
    words = Words("k", HOSTILE, HOSTILE)
    made = [
        charts.ranking(words, [(HOSTILE, 1.0)], lambda _: HOSTILE, NUMBERS),
        charts.columns(words, [(HOSTILE, 1.0)], axis([1.0], str), NUMBERS, x_name=HOSTILE, reference=(1, HOSTILE)),
        charts.intervals(words, [Measured(HOSTILE, 1.0, 0.0, 2.0)], str, HOSTILE, NUMBERS),
        charts.curve(words, [Line([(0, 1.0), (1, 1.0)], HOSTILE)], Axis(0, 1, [0], lambda _: HOSTILE),
                     Axis(0, 1, [0], lambda _: HOSTILE, HOSTILE), NUMBERS, [Mark(0, 1, HOSTILE)]),
    ]  # fmt: skip
    for figure in made:
        assert "<script" not in figure.svg and "<a " not in figure.svg
        assert figure.svg.count("</svg>") == 1
    assert "&lt;script" in made[0].svg
    assert svg.tag("a", HOSTILE, href=HOSTILE).count("<") == 2


def test_a_chart_says_what_it_is_to_who_does_not_see_it() -> None:
    figure = charts.ranking(Words("key", "Title", "Note"), [("a", 1.0)], numbers.count, NUMBERS)
    assert '<title id="key-title">Title</title><desc id="key-desc">Note</desc>' in figure.svg
    assert 'role="img"' in figure.svg and 'aria-labelledby="key-title key-desc"' in figure.svg


def test_a_graph_places_nodes_in_columns_and_leaves_out_edges_to_nowhere() -> None:
    nodes = [
        Node("a", "a", 0, "#a", "A"),
        Node("b", "b", 1, "#b", "B"),
        Node("c", "c", 1, "#c", "C"),
    ]
    edges = [("a", "b"), ("b", "c"), ("a", "gone")]
    made = graph.draw("g", "t", "d", ["first", "second"], nodes, edges)
    assert made.count("<path") == 2
    places = graph.arranged(nodes, edges)
    assert places["a"][0] < places["b"][0] == places["c"][0]
    assert len({*places.values()}) == 3
    assert made.count('<a href="#') == 3 and 'role="group"' in made


def test_neighbours_in_a_graph_are_drawn_level() -> None:
    nodes = [
        Node(f"{side}{n}", "", layer, "#", "") for layer, side in enumerate("lr") for n in range(6)
    ]
    crossed = [(f"l{n}", f"r{5 - n}") for n in range(6)]
    places = graph.arranged(nodes, crossed)
    assert all(places[a][1] == places[b][1] for a, b in crossed)
