"""What columns are called: the words that give away which part a column plays."""

import re
from collections.abc import Iterable

# Part -> (words, most telling first; what may stand around them). Names are compared in lower case
# without anything between the words: CustomerID, customer_id and "Customer ID" are one name.
_ID = "id|ids|key|no|nr|num|number|code|uuid|guid|hash|full|unique|external|the"
_NAMES: dict[str, tuple[str, str]] = {
    "user_id": (
        "users? uid customers? cust visitors? clients? members? subscribers? students? learners? "
        "accounts? acct shoppers? buyers? players? persons? patients? reviewers? guests? "
        "consumers? cookie",
        _ID + "|pseudo|anonymous|master|browser",
    ),
    "event_at": (
        "timestamp ts datetime datetimestamp time at date dt day when t",
        "event|created|occurred|recorded|happened|order|purchase|invoice|transaction|visit|view|click|"
        "action|activity|request|review|rating|hit|received|server|client|local|utc|gmt|unix|epoch|"
        "posted|logged|log|seconds|secs|sec|ms|millis|micros|us|approved|placed|on",
    ),
    "item_id": (
        "items? products? prod sku asin isbn stock articles? merchandise material movies? films? "
        "songs? tracks? artists? videos? books? games? apps? courses? lessons? listings? posts? "
        "offers? content resource site pages? url uri path",
        _ID + "|page|parent|request|location|path|url|uri|viewed|clicked",
    ),
    "event_type": (
        "event eventtype eventname eventaction eventkind eventclass action actiontype actionname "
        "activity activitytype activityname interaction interactiontype behaviou?r behaviou?rtype "
        "hittype verb transactiontype operation type",
        "user|type|name",
    ),
    "type_flag": (
        "purchased? converted conversion bought buy ordered transacted subscribed clicked click",
        "is|has|did|was|flag|made|made|a",
    ),
    "value": (
        "value revenue amount amt total subtotal spend spent sales turnover payment paid gross net "
        "sum",
        "event|order|transaction|invoice|purchase|item|line|sale|in|usd|eur|gbp|price|value|amount|total|paid",
    ),
    "price": ("price", "unit|item|product|sale|sales|selling|each|usd|eur|gbp|in|per|paid"),
    "quantity": ("quantity qty units pieces", "item|product|order|ordered|purchase|sold|line|of"),
    "category": (
        "category department genre aisle",
        "item|product|main|primary|code|name|id|1|level|master|sub",
    ),
    "title": (
        "title description productname itemname pagetitle productdescription itemdescription",
        "item|product|page|stock|movie|content|long|short|desc",
    ),
}

PARTS = tuple(_NAMES)
FLAG_ROLES = (("click", "click"), ("", "purchase"))  # what a 0/1 column's name says it marks
_PROXY = re.compile(r"(^|_)(id|uuid|guid|hash|email|e_?mail|phone|ip|host|cookie)($|_)|Id$|ID$")


def plays(part: str, name: str) -> int | None:
    """How telling a name is for a part, 0 most; None if it does not speak for it at all.

    >>> [plays("user_id", name) for name in ("CustomerID", "id_student", "user_agent")]
    [2, 8, None]

    What follows a colon is a type, as in the atomic files of recommender libraries: `user_id:token`.
    """
    joined = re.sub(r"[^a-z0-9]", "", name.lower().partition(":")[0])
    words, around = _NAMES[part]
    for rank, word in enumerate(words.split()):
        if re.fullmatch(f"(?:{around})*{word}(?:{around})*", joined):
            return rank
    return None


def best(part: str, names: Iterable[str]) -> list[str]:
    """The names that speak for a part, most telling first; of equals, an id and then the first."""
    ranked = [(rank, not _PROXY.search(name), place, name) for place, name in enumerate(names)
              if (rank := plays(part, name)) is not None]  # fmt: skip
    return [name for *_, name in sorted(ranked)]


def is_user_agent(name: str) -> bool:
    """Whether a name is one of the browser's user agent.

    >>> [is_user_agent(name) for name in ("HTTP_USER_AGENT", "ua", "agent_id")]
    [True, True, False]
    """
    joined = re.sub(r"[^a-z0-9]", "", name.lower())
    return bool(re.fullmatch("(http|browser|client|request)?(user)?agent(string)?|ua", joined))


def may_identify(name: str) -> bool:
    """Whether a name looks like an id: the fallback where no column is named after users."""
    return bool(_PROXY.search(name))


def role_of_flag(name: str) -> str:
    """The role of the events that a 0/1 column marks.

    >>> role_of_flag("is_purchased"), role_of_flag("clicked")
    ('purchase', 'click')
    """
    return next(role for word, role in FLAG_ROLES if word in name.lower())
