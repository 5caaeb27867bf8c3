"""One `[[source]]` of `behavsql.toml`: where rows lie, how to read them, what their columns mean."""

from typing import Literal

from pydantic import Field, model_validator

from behavsql import contradictions
from behavsql.section import Moment, Section, refuse


class Columns(Section):
    """Which column of the source plays which part; a user may be several columns together."""

    user_id: str | list[str] | None = None
    event_at: str | None = None
    item_id: str | None = None
    event_type: str | None = None
    type_flag: str | None = None
    value: str | None = None
    price: str | None = None
    quantity: str | None = None
    category: str | None = None
    title: str | None = None
    user_agent: str | None = None  # stays among the event's attributes too

    @property
    def user_parts(self) -> list[str]:
        return [self.user_id] if isinstance(self.user_id, str) else list(self.user_id or [])

    def used(self) -> set[str]:
        """Every column that is named: the source must have it."""
        single = self.model_dump(exclude={"user_id"}, exclude_none=True)
        return {*self.user_parts, *single.values()}

    def taken(self) -> set[str]:
        """The columns that become parts of the event and so are no attributes of it."""
        kept = {self.user_agent} - self.model_copy(update={"user_agent": None}).used()
        return self.used() - kept


class Source(Section):
    """One set of files with one shape: events, or facts about items or users."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    path: str
    kind: Literal["events", "items", "users"] = "events"
    format: Literal["auto", "csv", "parquet", "json"] = "auto"
    columns: Columns = Columns()
    default_type: str = "action"
    at_unit: Literal["timestamp", "epoch", "epoch_ms", "epoch_us", "days", "seconds", "order"] = (
        "timestamp"
    )
    at_format: str | None = None
    at_timezone: str = "UTC"
    since: Moment | None = None  # events outside are rejected, and counted
    until: Moment | None = None
    dedupe: Literal["row", "key", "none", "auto"] = "auto"
    delimiter: str | None = Field(None, min_length=1)  # None: told from the first lines
    quote: Literal['"', "'", ""] | None = None  # "": quotes are letters like others
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    decimal: Literal[".", ","] = "."  # of amounts that are text; the other one groups thousands
    not_products: list[str] = []
    attributes: list[str] = []
    features: list[str] = []  # of users: known from the start, so models may learn from them
    texts: list[str] = []  # of items: descriptions, beside the title
    vectors: list[str] = []  # of items: lists of numbers, of images for example

    @property
    def has_dates(self) -> bool:
        return self.at_unit not in ("days", "seconds", "order")

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        refuse(contradictions.of_source(self))
        return self
