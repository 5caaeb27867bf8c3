"""Who says which item comes next: one line here = one recommender.

The values are strings so that importing this package loads no library a recommender is written in.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from behavsql.recommenders.base import Recommender

RECOMMENDERS: dict[str, str] = {
    "popularity": "behavsql.recommenders.popularity:Popularity",
    "segment_popularity": "behavsql.recommenders.popularity:SegmentPopularity",
    "own_items": "behavsql.recommenders.own_items:OwnItems",
    "own_habits": "behavsql.recommenders.own_items:OwnHabits",
    "co_visitation": "behavsql.recommenders.co_visitation:CoVisitation",
    "session_knn": "behavsql.recommenders.session_knn:SessionKNN",
    "content": "behavsql.recommenders.content:Content",
    "als": "behavsql.recommenders.als:ALS",
    "item_gru": "behavsql.recommenders.item_gru:ItemGRU",
    "item_transformer": "behavsql.recommenders.item_transformer:ItemTransformer",
}
BLEND = "blend"  # of all of these, see blend.py
RERANKER = "reranker"  # of what they list, see reranker.py
DIVERSE = "diverse"  # the published lists reordered, where `diversity` is set, see diversity.py
COMBINED = (BLEND, RERANKER)
REFERENCES = ("popularity", "own_items")  # asked whatever else is, and shown beside it

_NETWORKS = ("item_gru", "item_transformer")
_STANDARD = tuple(name for name in RECOMMENDERS if name not in _NETWORKS)
_FAST = tuple(name for name in _STANDARD if name not in ("als", "content"))
RECOMMENDER_SETS: dict[str, tuple[str, ...]] = {
    "fast": (*_FAST, BLEND),
    "standard": (*_STANDARD, *COMBINED),
    "all": (*_STANDARD, *_NETWORKS, *COMBINED),
}


def recommender_class(name: str) -> "type[Recommender]":
    """The class registered under `name`."""
    module, _, cls = RECOMMENDERS[name].partition(":")
    return getattr(import_module(module), cls)
