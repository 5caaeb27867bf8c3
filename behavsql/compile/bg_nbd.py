"""What a BG/NBD model answers, in SQL.

Step by step as in customer_histories.read and bg_nbd_formulas. SQL has neither log1p nor expm1:
log(1 + v) is 2 atanh(v / (2 + v)), and 1 - exp(-u) is 2 exp(-u / 2) sinh(u / 2). Nor has it 2F1,
but the terms of its series that are enough for every customer can be written out.
"""

from typing import TYPE_CHECKING

from behavsql.compile.errors import CompileError
from behavsql.models.parts.bg_nbd_formulas import MOST_TERMS
from behavsql.models.parts.customer_histories import MOST, MOST_VALUE, PROCESSES
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile.form import Form
    from behavsql.models.bg_nbd import Said


def answer(said: "Said", form: "Form") -> str:
    """The prediction of a fitted model. CompileError where its series is too long."""
    process = PROCESSES[said.process]
    days, gap, since = map(form.number, (process.count_days, process.gap_mean, process.since))
    known = f"{days} >= 1 AND {since} IS NOT NULL AND ({days} < 2 OR {gap} IS NOT NULL)"
    x = f"CASE WHEN {known} THEN floor({_within(days, 1.0, MOST)}) - 1 END"
    each = "1e0"
    if said.answer == "value":
        each = form.number(process.value)
    return form.bind(x, lambda x: form.bind(
        f"least({x} * coalesce({_within(gap, 0.0, MOST)}, 0e0), {literal(MOST)})", lambda t_x:
            form.bind(f"{t_x} + {_within(since, 0.0, MOST)}", lambda age:
                _of(said, form, x, t_x, age, each)
        )
    ))  # fmt: skip


def _of(said: "Said", form: "Form", x: str, t_x: str, age: str, value: str) -> str:
    of, t = said.population, literal(said.horizon_days)
    r, alpha, a, b = map(literal, (of.r, of.alpha, of.a, of.b))
    silence = f"ln(({alpha} + {age}) / ({alpha} + {t_x}))"
    odds = f"ln({a} / ({b} + {x} - 1e0)) + ({r} + {x}) * {silence}"
    alive = f"CASE WHEN {x} > 0 THEN 1e0 / (1e0 + exp(least({odds}, 700e0))) ELSE 1e0 END"
    ahead = f"2e0 * atanh({t} / (2e0 * ({alpha} + {age}) + {t}))"

    def told(alive: str, ahead: str, z: str) -> str:
        if said.answer in ("number", "value"):
            number = f"{literal(said.level)} * {alive} * {_number(said, x, age, ahead, z)}"
            return number if said.answer == "number" else f"{number} * {_each(said, x, value)}"
        if said.answer == "waits":
            return f"{t} - {alive} * {_away(said, x, age, ahead)}"
        comes = f"{alive} * {_one_less_exp(f'({r} + {x}) * {ahead}')}"
        return comes if said.answer == "comes" else f"1e0 - {comes}"

    def whole(alive: str, ahead: str, z: str) -> str:
        otherwise = literal(said.otherwise)
        return f"CASE WHEN {x} IS NULL THEN {otherwise} ELSE {told(alive, ahead, z)} END"

    z = f"{t} / ({literal(of.off_one().alpha)} + {age} + {t})"  # of the series, if there is one
    return form.bind(alive, lambda one: form.bind(ahead, lambda two: (
        form.bind(z, lambda three: whole(one, two, three))
    )))  # fmt: skip


def _away(said: "Said", x: str, age: str, ahead: str) -> str:
    """Of a customer who stays, the days of the horizon after they came."""
    t, alpha = literal(said.horizon_days), literal(said.population.alpha)
    power = f"({literal(said.population.r)} + {x} - 1e0)"
    share = f"{_one_less_exp(f'{power} * {ahead}')} / {power}"
    share = f"CASE WHEN abs({power}) < 1e-6 THEN {ahead} ELSE {share} END"
    return f"greatest({t} - ({alpha} + {age}) * {share}, 0e0)"


def _number(said: "Said", x: str, age: str, ahead: str, z: str) -> str:
    """E[X(t) | alive]: Population.expected."""
    of, t = said.population.off_one(), literal(said.horizon_days)
    every = f"({x} + {literal(of.a + of.b - 1)})"
    less = literal(of.a - 1)
    share = f"1e0 - exp(-({less}) * {ahead}) * {_series(said, x, z)}"
    most = f"({literal(of.r)} + {x}) * {t} / ({literal(of.alpha)} + {age})"
    if of.a > 1:
        most = f"least({most}, {every} / {less})"
    return f"greatest(least({every} / ({less}) * ({share}), {most}), 0e0)"


def _series(said: "Said", x: str, z: str) -> str:
    """2F1(a + b - 1 - r, a - 1; a + b - 1 + x; z) as nested sums, the last term inside."""
    of = said.population.off_one()
    ratios = of.ratios(said.horizon_days)
    if ratios is None:
        raise CompileError(
            f"model bg_nbd: the expected number is a hypergeometric function (2F1), which takes "
            f"over {MOST_TERMS} terms of its series here. It stays in Python."
        )
    text = "1e0"
    for n, ratio in reversed(list(enumerate(ratios))):
        text = f"(1e0 + {z} * {literal(ratio)} / ({x} + {literal(of.a + of.b - 1 + n)}) * {text})"
    return text


def _each(said: "Said", x: str, value: str) -> str:
    """GammaGamma.expected, of the value of all days together."""
    p, q, gamma = said.money.p, said.money.q, said.money.gamma
    own = f"{literal(p)} * ({literal(gamma)} + {_within(value, 0.0, MOST_VALUE)})"
    of = f"({literal(p)} * ({x} + 1e0) + {literal(q)} - 1e0)"
    return f"coalesce({own} / {of}, {literal(p * gamma / (q - 1))})"


def _one_less_exp(u: str) -> str:
    u = f"least({u}, 700e0)"
    return f"2e0 * exp(-{u} / 2e0) * sinh({u} / 2e0)"


def _within(value: str, low: float, most: float) -> str:
    """NULL stays NULL."""
    kept = f"greatest(least({value}, {literal(most)}), {literal(low)})"
    return f"CASE WHEN {value} IS NOT NULL THEN {kept} END"
