"""Amounts as people write them -> numbers: currency signs, grouped thousands, decimal commas."""

from behavsql.quoting import identifier, literal

WHOLE = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT",
)  # fmt: skip
_CODES = (
    "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|ZAR|TRY|ILS|KRW|"
    "SGD|HKD|THB|RUB|UAH|AED|SAR|Kč|Ft|zł|kr|Rs|US|R"
)
_BLANK = r"[\s\x{00A0}\x{202F}]"
# A sign of currency anywhere, a currency's code at either end, and the blanks around them.
_CURRENCY = (
    rf"^{_BLANK}*([+-]?){_BLANK}*(?:{_CODES})\.?{_BLANK}*|{_BLANK}*(?:{_CODES})\.?{_BLANK}*$"
    rf"|{_BLANK}*\p{{Sc}}{_BLANK}*|^{_BLANK}+|{_BLANK}+$"
)
_GROUPS = {".": r"[,\s\x{00A0}\x{202F}'\x{2019}]", ",": r"[.\s\x{00A0}\x{202F}'\x{2019}]"}
_GROUPED = {
    ".": rf"[+-]?\d{{1,3}}({_GROUPS['.']}\d{{2,3}})*{_GROUPS['.']}\d{{3}}(\.\d*)?",
    ",": rf"[+-]?\d{{1,3}}({_GROUPS[',']}\d{{3}})+(,\d*)?",
}


def amount(column: str, type_: str, decimal: str) -> tuple[str, str]:
    """SQL of (number, the text that is no number): NULL, NaN and infinities are all missing.

    decimal: the decimal sign of amounts that are text; what else stands between digits must group
    them in thousands. "12.50" is no number where the sign is a comma.
    """
    name = identifier(column)
    if type_ in WHOLE or type_.startswith("DECIMAL"):
        number = f"try_cast({name} as decimal(18, 4))"
        return number, _unread(name, number, "true")
    if type_ in ("DOUBLE", "FLOAT"):
        number = f"try_cast(case when isfinite({name}) then {name} end as decimal(18, 4))"
        return number, _unread(name, number, f"isfinite({name})")
    text = name if type_ == "VARCHAR" else f"cast({name} as varchar)"
    number = number_in(text, decimal)
    return number, _unread(text, number, f"coalesce(isfinite(try_cast({text} as double)), true)")


def real(column: str, type_: str, decimal: str) -> str:
    """SQL of a column as DOUBLE, read as amounts are: NULL, NaN and infinities are all missing."""
    name = identifier(column)
    number = f"try_cast({name} as double)"
    if not (type_ in (*WHOLE, "DOUBLE", "FLOAT") or type_.startswith("DECIMAL")):
        text = name if type_ == "VARCHAR" else f"cast({name} as varchar)"
        number = number_in(text, decimal, "double")
    # Not left to comparisons: Parquet's own maximum knows no NaN, and DuckDB believes it.
    return f"case when isfinite({number}) then {number} end"


def number_in(text: str, decimal: str, type_: str = "decimal(18, 4)") -> str:
    """SQL that reads a text as a number; NULL if it is none."""
    bare = rf"regexp_replace({text}, {literal(_CURRENCY)}, '\1', 'g')"
    is_grouped = f"regexp_full_match({bare}, {literal(_GROUPED[decimal])})"
    whole = f"regexp_replace({bare}, {literal(_GROUPS[decimal])}, '', 'g')"
    if decimal == ".":
        plain = f"try_cast({text} as {type_})"
        other = f"try_cast(case when {is_grouped} then {whole} else {bare} end as {type_})"
        # A plain number comes first: the expressions that read the others take ten times as long.
        return f"case when {text} is null then null when {plain} is not null then {plain} else {other} end"
    bare = f"case when not contains({bare}, '.') then {bare} end"
    number = f"case when {is_grouped} then {whole} else {bare} end"
    return f"try_cast(replace({number}, ',', '.') as {type_})"


def _unread(text: str, number: str, is_finite: str) -> str:
    return (
        f"case when {text} is not null and {number} is null and {is_finite} "
        f"then cast({text} as varchar) end"
    )
