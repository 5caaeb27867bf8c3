"""The two shapes a scoring expression takes: compact for single rows, flat for batches.

A compiler writes SQL against a `Form` and asks it for the features it reads. The same text of a
linear model or a calibration serves both shapes; trees and networks write each one their own way.

    RowForm     one expression over a list `_x` of numbers. Weights and trees are string literals
                cast to lists, so that a query that scores one row is planned in milliseconds.
    BatchForm   nested SELECTs over bare columns: slower to plan, several times faster per row.

Names that the SQL binds begin with `_`, so that no feature of the same name gets in their way.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from behavsql.compile.errors import CompileError
from behavsql.quoting import identifier, literal

# The DuckDB types of features: what counts as a number, and what as a category.
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
           "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")  # fmt: skip
NUMBER = "{}::DOUBLE"
TEXTS = ("VARCHAR", "ENUM")
FINITE = "CASE WHEN isfinite({0}) THEN {0} END"
# LightGBM's kZeroThreshold, single precision: what is nearer to zero than that is zero.
ZERO = 1.0000000180025095e-35
MOST_VALUE = 1.7976931348623157e308


class Form(ABC):
    """Collects what a model reads while its expression is written.

    types: feature -> DuckDB type in the feature table; task: whose model it is. What is read is called an atom: a number
    (NULL where missing, NaN or infinite) or a 0/1 flag. Equal atoms are kept once.
    """

    is_batch: bool

    def __init__(self, types: Mapping[str, str], task: str) -> None:
        self._types = types
        self._task = task
        self._atoms: dict[tuple[str, str], int] = {}  # (feature, template) -> position from 1
        self._lists: list[str] = []  # the list columns, for models that read sequences
        self._bound = 0
        self.ties: dict[int, set[float]] = {}  # position -> where a comparison turns

    @property
    def features(self) -> list[str]:
        """The features the expression reads, in the order they were asked for."""
        return list(dict.fromkeys(feature for feature, _ in self._atoms))

    @property
    def lists(self) -> list[str]:
        """The list columns the expression reads, those of features.sequences."""
        return list(self._lists)

    def list_column(self, name: str) -> str:
        """A reference to a list column as it is; CompileError if the rows have no such column."""
        if not self._types.get(name, "").endswith("[]"):
            raise CompileError(
                f"column {name}: is {self._types.get(name, 'not there')}; the model reads it as a list. "
                f"Train it again."
            )
        if name not in self._lists:
            self._lists.append(name)
        return self._list_reference(self._lists.index(name) + 1)

    def number(self, feature: str, zero_is_missing: bool = False) -> str:
        """A reference to a number. CompileError for a feature that is text, or is not there."""
        return self.reference(self.number_at(feature, zero_is_missing))

    def last_window(self) -> str:
        """A reference to the task's own label one window earlier."""
        return self.number(f"{self._task}_last_window")

    def number_at(self, feature: str, zero_is_missing: bool = False) -> int:
        """The position of a number among the atoms, from 1."""
        type_ = self._type(feature)
        if type_ in TEXTS:
            raise CompileError(
                f"feature {feature}: is {type_}; the model reads it as a number. Train it again."
            )
        template = NUMBER
        if zero_is_missing:
            template = NUMBER.replace("{}", "{0}")
            template = f"CASE WHEN abs({template}) > {literal(ZERO)} THEN {template} END"
        return self._atom(feature, template)

    def flag(self, feature: str, value: str) -> str:
        """A reference to 1.0 where the text feature equals `value`, else 0.0 (missing too)."""
        return self.reference(self.flag_at(feature, value))

    def flag_at(self, feature: str, value: str) -> int:
        """The position of a flag among the atoms, from 1."""
        if not self.is_text(feature):
            raise CompileError(
                f"feature {feature}: is {self._type(feature)}; the model reads it as text. "
                f"Train it again."
            )
        quoted = literal(value).replace("{", "{{").replace("}", "}}")
        return self._atom(feature, f"coalesce({{}}::VARCHAR = {quoted}, false)::DOUBLE")

    def missing_at(self, feature: str) -> int:
        """The position of a flag: 1.0 where the text feature is missing, else 0.0."""
        self._type(feature)
        return self._atom(feature, "({} IS NULL)::DOUBLE")

    def member_at(self, feature: str, values: Iterable[int]) -> int:
        """The position of a flag: 1.0 where the number, cut to an integer, is one of `values`."""
        listed = ", ".join(f"{value}" for value in sorted(values))
        return self._atom(feature, f"coalesce(trunc({NUMBER}) IN ({listed}), false)::DOUBLE")

    def is_text(self, feature: str) -> bool:
        """Whether a feature is a category."""
        return self._type(feature) in TEXTS

    def atoms(self, column: Callable[[str], str]) -> list[str]:
        """The atoms as SQL over the columns that `column` names."""
        return [template.format(column(feature)) for feature, template in self._atoms]

    def sources(self) -> dict[int, str]:
        """Position -> feature."""
        return {position: feature for (feature, _), position in self._atoms.items()}

    @abstractmethod
    def reference(self, position: int) -> str:
        """The SQL that reads the atom at a position."""

    @abstractmethod
    def _list_reference(self, position: int) -> str:
        """The SQL that reads the list column at a position, from 1."""

    @abstractmethod
    def bind(self, value: str, body: Callable[[str], str]) -> str:
        """`body` of a name for `value`, which is then computed once however often it is named."""

    @abstractmethod
    def bind_all(self, values: Sequence[str], body: Callable[[list[str]], str]) -> str:
        """`body` of the names of several values, of one type, that do not refer to each other."""

    def _atom(self, feature: str, template: str) -> int:
        return self._atoms.setdefault((feature, template), len(self._atoms) + 1)

    def _type(self, feature: str) -> str:
        if feature not in self._types:
            raise CompileError(
                f"feature {feature}: the feature table has no such column; the model reads it. "
                f"Train it again."
            )
        type_ = self._types[feature].partition("(")[0]
        if type_ not in (*NUMBERS, *TEXTS):
            raise CompileError(
                f"feature {feature}: is {type_}; SQL models read numbers, booleans and text. "
                f"Cast it in its SQL file."
            )
        return type_

    def _name(self) -> str:
        self._bound += 1
        return f"_{self._bound}"


class Bound(str):
    """What RowForm.bind writes: a list of one struct, then lambdas over it, each widening the struct."""

    structs: tuple[str, ...]
    answer: str

    @classmethod
    def of(cls, structs: Sequence[str], answer: str) -> Self:
        """structs: the first as it stands where the whole does, the others in terms of `_b`, the one before."""
        rows = f"[{structs[0]}]"
        for struct in structs[1:]:
            rows = f"list_transform({rows}, lambda _b: {struct})"
        found = cls(f"list_transform({rows}, lambda _b: {answer})[1]")
        found.structs, found.answer = tuple(structs), answer
        return found


class RowForm(Form):
    """One expression over the list `x`; names are bound by lambdas.

    DuckDB plans a lambda inside a lambda twice, one inside that four times. So names that are bound one
    after the other are fields of one struct, `_b`, that lambdas side by side hand on.
    """

    is_batch = False

    def __init__(self, types: Mapping[str, str], task: str) -> None:
        super().__init__(types, task)
        self._scope: list[str] = []  # the fields of `_b` where the next text is to stand

    def reference(self, position: int) -> str:
        return f"_x[{position}]"

    def _list_reference(self, position: int) -> str:
        return f"_z.l{position}"

    def bind(self, value: str, body: Callable[[str], str]) -> str:
        name = self._name()
        fields = [*(f"{held}: _b.{held}" for held in self._scope), f"{name}: {value}"]
        self._scope.append(name)
        answer = body(f"_b.{name}")
        self._scope.pop()
        struct = f"{{{', '.join(fields)}}}"
        if isinstance(answer, Bound):
            return Bound.of([struct, *answer.structs], answer.answer)
        return Bound.of([struct], answer)

    def bind_all(self, values: Sequence[str], body: Callable[[list[str]], str]) -> str:
        listed = f"[{', '.join(values)}]"
        return self.bind(listed, lambda v: body([f"{v}[{i}]" for i in range(1, len(values) + 1)]))

    def over_row(self, expression: str, row: str) -> str:
        """The expression for a row `row`, unpacked once: each `f.x` would repack all of it.

        NULL for no row. Every feature is qualified: an unknown one must be an error, not an outer
        column.
        """
        read = self._read(lambda feature: f"_r.{identifier(feature)}")
        known = f"list_filter([{row}], lambda _r: _r IS NOT NULL)"
        return self._over(f"list_transform({known}, lambda _r: {read})", expression)

    def over_columns(self, expression: str) -> str:
        """The expression over bare columns, or arguments, named like the features."""
        return self._over(f"[{self._read(identifier)}]", expression)

    def _read(self, column: Callable[[str], str]) -> str:
        """The list of the atoms; a struct of it and the list columns, if there are any."""
        atoms = f"[{', '.join(self.atoms(column))}]"
        if not self._lists:
            return atoms
        lists = (f"l{i}: {column(name)}" for i, name in enumerate(self._lists, 1))
        return f"{{x: {atoms}::DOUBLE[], {', '.join(lists)}}}"

    def _over(self, rows: str, expression: str) -> str:
        finite = f"lambda _v: {FINITE.format('_v')}"
        if self._lists:
            read = f"lambda _x: {expression}"
            return (
                f"list_transform({rows}, lambda _z: list_transform("
                f"[list_transform(_z.x, {finite})], {read})[1])[1]"
            )
        if not self._atoms:
            return expression
        return (
            f"list_transform(list_transform({rows}, lambda _a: list_transform(_a, {finite})), "
            f"lambda _x: {expression})[1]"
        )


class BatchForm(Form):
    """Nested SELECTs: each bound name is a column of one of them."""

    is_batch = True

    def __init__(self, types: Mapping[str, str], task: str) -> None:
        super().__init__(types, task)
        self._levels: list[list[tuple[str, str]]] = []
        self._level_of: dict[str, int] = {}

    def reference(self, position: int) -> str:
        return f"x{position}"

    def _list_reference(self, position: int) -> str:
        return f"l{position}"

    def bind(self, value: str, body: Callable[[str], str]) -> str:
        name = self._name()
        self._levels.append([(name, value)])
        return body(name)

    def bind_all(self, values: Sequence[str], body: Callable[[list[str]], str]) -> str:
        names = [self._name() for _ in values]
        self._levels.append(list(zip(names, values, strict=True)))
        return body(names)

    def query(self, expression: str, table: str, keys: Sequence[str] = ("user_id",)) -> str:
        """A SELECT of the keys and the `score` of every row of `table`."""
        kept = ", ".join(map(identifier, keys))
        columns = [f"{atom} AS c{i}" for i, atom in enumerate(self.atoms(identifier), 1)]
        lists = [f"l{i}" for i in range(1, len(self._lists) + 1)]
        named = [f"{identifier(name)} AS l{i}" for i, name in enumerate(self._lists, 1)]
        source = f"SELECT {', '.join([kept, *columns, *named])} FROM {table}"
        finite = [f"{FINITE.format(f'c{i}')} AS x{i}" for i in range(1, len(columns) + 1)]
        source = f"SELECT {', '.join([kept, *finite, *lists])} FROM ({source})"
        for level in self._levels:
            bound = ", ".join(f"{value} AS {name}" for name, value in level)
            source = f"SELECT *, {bound} FROM ({source})"
        return f"SELECT {kept}, {expression} AS score FROM ({source})"
