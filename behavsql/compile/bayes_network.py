"""A Bayes network in SQL: states first, then every table looked up by the state and the parent's."""

from collections.abc import Sequence

from behavsql.compile import literals
from behavsql.compile.form import BatchForm, Form
from behavsql.compile.weighted_sum import balanced
from behavsql.models.parts.bayes_tables import Classes, Node
from behavsql.models.parts.discrete import Discrete
from behavsql.quoting import literal


def expected(nodes: Sequence[Node], classes: Classes, form: Form) -> str:
    """The mean of the classes' mean labels, weighted with their probabilities."""
    states = [_state(node.feature, form) for node in nodes]
    return form.bind_all(states, lambda at: form.bind(
        _scores(nodes, classes, at), lambda s: form.bind(
            f"list_transform({s}, lambda _s: exp(_s - list_max({s})))",
            lambda w: f"list_inner_product({w}, {literals.numbers(classes.means)}) / list_sum({w})",
        )
    ))  # fmt: skip


def _state(feature: Discrete, form: Form) -> str:
    if feature.edges is None:
        places = [form.flag_at(feature.source, text) for text in feature.categories]
        cases = [f"WHEN {form.reference(place)} = 1e0 THEN {i}" for i, place in enumerate(places)]
        gone = form.reference(form.missing_at(feature.source))
        cases.append(f"WHEN {gone} = 1e0 THEN {feature.missing_code}")
        return f"CASE {' '.join(cases)} ELSE {feature.other_code} END"
    place = form.number_at(feature.source)
    form.ties.setdefault(place, set()).update(feature.edges)
    value = form.reference(place)
    if isinstance(form, BatchForm):
        cases = [f"WHEN {value} < {literal(edge)} THEN {i}" for i, edge in enumerate(feature.edges)]
        below = f"CASE {' '.join(cases)} ELSE {len(feature.edges)} END" if cases else "0"
    else:
        below = f"len(list_filter({literals.numbers(feature.edges)}, lambda _e: _e <= {value}))"
    return f"CASE WHEN {value} IS NULL THEN {feature.missing_code} ELSE {below} END"


def _scores(nodes: Sequence[Node], classes: Classes, states: Sequence[str]) -> str:
    """The list of log P(class | x) - log P(first class | x), itself included as 0."""
    ratios = [node.log_ratios for node in nodes]
    places = [_place(node, state, states) for node, state in zip(nodes, states, strict=True)]
    scores = ["0e0"]
    for c, prior in enumerate(classes.log_ratios):
        tables = [literals.numbers(of_node[c].ravel()) for of_node in ratios]
        looked_up = [f"{table}[{place}]" for table, place in zip(tables, places, strict=True)]
        scores.append(f"{literal(float(prior))} + {balanced(looked_up)}")
    return f"[{', '.join(scores)}]"


def _place(node: Node, state: str, states: Sequence[str]) -> str:
    """Where in its table (k + 1, parent's k + 1) a node's number stands, from 1."""
    row = f"{state} * {node.probability.shape[2]} + 1"
    return row if node.parent is None else f"{row} + {states[node.parent]}"
