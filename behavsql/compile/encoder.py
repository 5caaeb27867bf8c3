"""The columns of an `Encoder`'s matrix in SQL."""

from collections.abc import Sequence

from behavsql.compile import literals
from behavsql.compile.form import BatchForm, Form
from behavsql.models.parts.encoding import Encoded, Encoder
from behavsql.quoting import literal


def atom(
    column: Encoded,
    form: Form,
    zero_is_missing: bool = False,
    categories: frozenset[int] | None = None,
) -> int:
    """The place of what a tree compares for a column of an unscaled matrix.

    categories: those of a split that sends some codes left; the place of a flag for them.
    """
    if column.role == "category":
        return form.flag_at(column.source, column.value)
    if categories is not None:
        return form.member_at(column.source, categories)
    return form.number_at(column.source, zero_is_missing)


def scaled(encoder: Encoder, form: BatchForm) -> list[str]:
    """One expression for each column of a scaled matrix."""
    return [_scaled(encoder, column, form) for column in encoder.columns]


def _scaled(encoder: Encoder, column: Encoded, form: Form) -> str:
    if column.role == "category":
        return form.flag(column.source, column.value)
    value = form.number(column.source)
    if column.role == "missing":
        return f"CASE WHEN {value} IS NULL THEN 1e0 ELSE 0e0 END"
    filled = f"coalesce({_logged(value) if encoder.log else value}, {literal(column.fill)})"
    return f"(({filled} - {literal(column.mean)}) / {literal(column.std)})"


def _logged(value: str) -> str:
    return f"sign({value}) * ln(1e0 + abs({value}))"


def scaled_list(encoder: Encoder, form: Form) -> tuple[str, Sequence[int]]:
    """The columns of a scaled matrix as one list, and which column of the encoder each one is."""
    if isinstance(form, BatchForm):
        return f"[{', '.join(scaled(encoder, form))}]", range(len(encoder.columns))
    of = lambda role: [i for i, column in enumerate(encoder.columns) if column.role == role]  # noqa: E731
    numbers, missing, flags = of("number"), of("missing"), of("category")
    parts = []
    if numbers:
        columns = [encoder.columns[i] for i in numbers]
        value = _logged("_u") if encoder.log else "_u"
        fill, mean, std = (
            literals.numbers(getattr(column, key) for column in columns)
            for key in ("fill", "mean", "std")
        )
        read = _select(form, [form.number_at(column.source) for column in columns])
        parts.append(f"list_transform({read}, lambda _u, _i: "
                     f"(coalesce({value}, {fill}[_i]) - {mean}[_i]) / {std}[_i])")  # fmt: skip
    if missing:
        read = _select(form, [form.number_at(encoder.columns[i].source) for i in missing])
        parts.append(f"list_transform({read}, lambda _u: (_u IS NULL)::DOUBLE)")
    if flags:
        columns = [encoder.columns[i] for i in flags]
        parts.append(_select(form, [form.flag_at(column.source, column.value)
                                    for column in columns]))  # fmt: skip
    joined = parts[0]
    for part in parts[1:]:
        joined = f"list_concat({joined}, {part})"
    return joined, [*numbers, *missing, *flags]


def _select(form: Form, positions: list[int]) -> str:
    return f"list_select(_x, {literals.integers(positions)})"
