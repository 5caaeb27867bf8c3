"""`[actions]` of `behavsql.toml`: what is done to users, what it costs, how often it may be done."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, model_validator

from behavsql.section import Duration, Section

NONE = "none"  # what it is called that nothing was done
# Words that are actions without being told, where they are nothing else.
KNOWN = ("campaign", "mail", "email", "sms", "push", "notification")


class Actions(Section):
    """Which events are done to users instead of by them, and the rules for doing more of it."""

    enabled: bool = True
    types: list[Annotated[str, Field(min_length=1)]] | None = None  # None: those of KNOWN
    horizon: Duration = timedelta(days=7)  # what follows within it counts as brought about
    active_within: Duration = timedelta(days=28)  # who was active so lately may be acted upon
    value: float = Field(1.0, gt=0, le=1e9)  # what a unit of the reward is worth, as its margin
    cost: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = {}  # of one action, by its word
    budget: float = Field(1.0, gt=0, le=1)  # the share of users who may be acted upon at once
    frequency_cap: int | None = Field(None, ge=1)  # actions a user gets within frequency_window
    frequency_window: Duration = timedelta(days=7)
    discount: float = Field(0.9, ge=0, lt=1)  # what a reward counts one decision later
    least_propensity: float = Field(0.01, gt=0, le=0.5)  # smaller ones count as this much

    @model_validator(mode="after")
    def _consistent(self) -> "Actions":
        words = [word.lower() for word in self.types or ()]
        if NONE in words:
            raise ValueError(f'actions.types: "{NONE}" is what doing nothing is called; rename it')
        allowed = words or KNOWN
        for word in self.cost:
            if word.lower() not in allowed:
                raise ValueError(
                    f'actions.cost: "{word}" is no action; allowed are {", ".join(allowed)}. '
                    f"Add it to actions.types, or leave its cost out"
                )
        return self

    def words(self, roles: dict[str, str]) -> list[str]:
        """The words that are actions, in lower case; roles: those of all words."""
        if not self.enabled:
            return []
        if self.types is not None:
            return sorted({word.lower() for word in self.types})
        return [word for word in KNOWN if roles.get(word) == "other"]

    def costs(self) -> dict[str, float]:
        """Word in lower case -> its cost."""
        return {word.lower(): cost for word, cost in self.cost.items()}
