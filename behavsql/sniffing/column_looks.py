"""What columns hold: types, shares and magnitudes in a sample, and how to read its times."""

from dataclasses import dataclass

import duckdb

from behavsql.input.amounts import number_in
from behavsql.quoting import identifier, literal

MOSTLY = 0.9
HALF = 0.5  # will do where the name says the same
TRUTHS = ["0", "1", "0.0", "1.0", "true", "false", "t", "f", "yes", "no", "y", "n"]

# "Mozilla/5.0 (...", "curl/7.68.0", "Googlebot/2.1 (+http...".
AGENT = r"^[A-Za-z][A-Za-z0-9 ._-]*/v?\d+(\.\d+)*($|[ ;(,])"
# Epoch counts by size: seconds up to the year 2286, and a thousand times that, twice.
EPOCHS = ((1e8, 1e10, "epoch"), (1e11, 1e13, "epoch_ms"), (1e14, 1e16, "epoch_us"))
# Day-first before month-first: where a sample fits both, that is said.
TIME_FORMATS = (
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y",
    "%m/%d/%Y", "%d/%m/%y %H:%M", "%m/%d/%y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%d.%m.%Y", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%Y%m%d", "%Y%m%d%H%M%S",
    "%d/%b/%Y:%H:%M:%S %z",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One column of the sample: shares are of its values that are there.

    numeric, timelike: share that reads as a number, as an ISO timestamp. by_point, by_comma: share
    that reads as an amount with that decimal sign; is_ambiguous: both do, and not as the same.
    agents: share that looks like a browser's or a program's name of itself. middle: the median number.
    """

    type: str
    filled: int
    distinct: int
    numeric: float
    timelike: float
    by_point: float
    by_comma: float
    is_ambiguous: bool
    agents: float
    is_flag: bool
    middle: float | None
    example: str

    @property
    def is_temporal(self) -> bool:
        by_text = self.type == "VARCHAR" and self.timelike >= MOSTLY and self.numeric < MOSTLY
        return self.type == "DATE" or self.type.startswith("TIMESTAMP") or by_text

    @property
    def is_number(self) -> bool:
        return self.numeric >= MOSTLY and not self.is_temporal

    @property
    def amount(self) -> float:
        """Share that reads as an amount, with currency signs and in one decimal sign or the other."""
        return max(self.numeric, self.by_point, self.by_comma)

    @property
    def is_amount(self) -> bool:
        return self.amount >= MOSTLY and not self.is_temporal


def column_looks(con: duckdb.DuckDBPyConnection, types: dict[str, str]) -> dict[str, Look]:
    """Every column of the table `sample`; one that is all NULL is neither number nor time."""
    looks = {}
    for name, type_ in types.items():
        column, text = identifier(name), f"cast({identifier(name)} as varchar)"
        number = f"try_cast({text} as double)"
        point, comma = (number_in(text, sign) for sign in (".", ","))
        row = con.execute(
            f"""select count({column}), count(distinct {column}),
                coalesce(avg(cast({number} is not null as int)), 0),
                coalesce(avg(cast(try_cast({text} as timestamp) is not null as int)), 0),
                count({point}) / count(*), count({comma}) / count(*),
                coalesce(bool_and({point} <> {comma}), false),
                avg(cast(regexp_matches({text}, {literal(AGENT)}) as int)),
                coalesce(bool_and(lower({text}) in {literal(TRUTHS)}), false),
                median({number}) filter (where isfinite({number})), coalesce(min({text}), '')
            from sample where {column} is not null"""
        ).fetchall()[0]
        looks[name] = Look(type_, *(0 if value is None else value for value in row[:-2]), *row[-2:])
    return looks


def time_reading(
    con: duckdb.DuckDBPyConnection, column: str, look: Look, least: float = MOSTLY
) -> dict[str, str] | None:
    """How to read a column as times: {} as it stands, else at_unit or at_format; None if not.

    least: the share of its values that must be times. A `doubt` is added where day and month could be the other way round.
    """
    if look.is_temporal or (look.timelike >= least and look.numeric < 1 - least):
        return {}
    if look.is_number and look.middle is not None:
        unit = next((unit for low, high, unit in EPOCHS if low <= abs(look.middle) < high), None)
        if unit:
            return {"at_unit": unit}
    return _by_format(con, column, least) if look.type == "VARCHAR" else None


def _by_format(con: duckdb.DuckDBPyConnection, column: str, least: float) -> dict[str, str] | None:
    name = identifier(column)
    shares = [
        f"avg(cast(try_strptime({name}, {literal(text)}) is not null as int))"
        for text in TIME_FORMATS
    ]
    row = con.execute(
        f"select {', '.join(shares)} from sample where {name} is not null"
    ).fetchall()[0]
    best = max(share or 0 for share in row)
    fitting = [text for text, share in zip(TIME_FORMATS, row, strict=True) if share == best]
    if best < least:
        return None
    other = [text for text in fitting[1:] if sorted(text) == sorted(fitting[0])]
    reading = {"at_format": fitting[0]}
    if other:
        reading["doubt"] = (
            f'"{look_alike(other[0])}" would fit as well as "{look_alike(fitting[0])}" (at_format).'
        )
    return reading


def look_alike(text: str) -> str:
    """A time format in letters.

    >>> look_alike("%d/%m/%Y %H:%M")
    'dd/mm/yyyy hh:mm'
    """
    letters = {"%d": "dd", "%m": "mm", "%Y": "yyyy", "%y": "yy", "%H": "hh", "%M": "mm", "%S": "ss"}
    for code, shown in letters.items():
        text = text.replace(code, shown)
    return text
