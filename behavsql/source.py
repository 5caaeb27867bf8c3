"""One `[[source]]` of `behavsql.toml`: where rows lie, how to read them, what their columns mean."""

from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from behavsql import contradictions
from behavsql.input import log_format, shapes
from behavsql.privacy.settings import Coarsening
from behavsql.section import Moment, Section, refuse


class Columns(Section):
    """Which column of the source plays which part; a user may be several columns together."""

    user_id: str | list[str] | None = None
    anonymous_id: str | None = None  # a cookie, a device: whose it is, rows that have both tell
    event_at: str | None = None
    item_id: str | None = None
    event_type: str | None = None
    type_flag: str | None = None
    value: str | None = None
    price: str | None = None
    quantity: str | None = None
    category: str | None = None
    title: str | None = None
    latitude: str | None = None  # of an app: where, in degrees
    longitude: str | None = None
    screen_time: str | None = None  # of an app: how long the user looked at it
    propensity: str | None = None  # of an action: the chance that it was chosen, between 0 and 1
    user_agent: str | None = None  # stays among the event's attributes too
    question: str | None = None  # of a survey with a row for each answer
    answer: str | None = None
    purpose: str | None = None  # of consent: what for, and whether it is given
    granted: str | None = None
    valid_from: str | None = None  # of facts: from when to when they hold
    valid_to: str | None = None

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
    """Rows of one shape, in files or in a database: events, or facts about items or users."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    path: str | None = None  # of files; of a database:
    url: SecretStr | None = None  # "postgresql://...", "mysql://...", "sqlite:///file", "env:NAME"
    table: str | None = Field(None, min_length=1)  # or `query`
    query: str | None = Field(None, min_length=1)
    watermark: str | None = Field(None, min_length=1)  # a column that grows: only new rows are read
    kind: Literal[
        "events", "items", "users", "survey", "attributes", "weblog", "app", "consent"
    ] = "events"
    shape: Literal["ga4", "snowplow", "segment"] | None = None  # an export whose columns are known
    log_format: str = "combined"  # of a web log; "common", "main", or nginx's or Apache's own words
    format: Literal["auto", "csv", "parquet", "json"] = "auto"
    location_decimals: int = Field(2, ge=0, le=5)  # of degrees that are kept: 2 is about 1 km
    screen_time_unit: Literal["seconds", "milliseconds", "minutes"] = "seconds"
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
    features: list[str] = []  # facts that models may learn from; of a survey: its questions
    texts: list[str] = []  # of items: descriptions, beside the title
    vectors: list[str] = []  # of items: lists of numbers, of images for example
    drop: list[str] = []  # columns that are not read into any file of ours
    coarsen: dict[str, Coarsening] = {}  # column -> how much of it is kept

    _is_pseudonymous: bool = PrivateAttr(False)  # as [privacy] says, for all sources

    @property
    def has_dates(self) -> bool:
        return self.at_unit not in ("days", "seconds", "order")

    @property
    def is_events(self) -> bool:
        """Whether its rows are what users did, and not facts about users or items."""
        return self.kind in ("events", "weblog", "app")

    @property
    def is_pseudonymous(self) -> bool:
        """Whether its users get pseudonyms as it is read."""
        return self._is_pseudonymous

    @property
    def words(self) -> dict[str, str]:
        """Event words of its kind -> their roles."""
        if self.kind == "weblog":
            return log_format.WORDS
        return dict(shapes.SHAPES[self.shape].words) if self.shape else {}

    @model_validator(mode="before")
    @classmethod
    def _told_by_kind(cls, data: Any) -> Any:
        """What a kind or a shape says of the columns goes without saying; what is said overrules it."""
        if not isinstance(data, dict) or not isinstance(data.get("columns", {}), dict):
            return data
        format_ = data.get("log_format", cls.model_fields["log_format"].default)
        if data.get("kind") == "weblog" and isinstance(format_, str):
            told = log_format.mapping(format_)
            if "user_agent" in (data.get("drop") or ()):
                told["columns"].pop("user_agent", None)
        elif data.get("shape") in [*shapes.SHAPES]:
            told = shapes.mapping(data["shape"])
        else:
            return data
        return told | data | {"columns": told["columns"] | data.get("columns", {})}

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        refuse(contradictions.of_source(self))
        return self
