"""behavsql: predict what users will do, in SQL.

behavsql.build("behavsql.toml")              build and publish a warehouse
behavsql.connect("warehouse")                open a published one, read-only
behavsql.predict_user_behavior(events)       events in, (predictions, metrics) out
"""

__version__ = "0.2.0"
__all__ = ["build", "connect", "predict_user_behavior"]

_HOMES = {"predict_user_behavior": "behavsql.api", "connect": "behavsql.warehouse"}


def __getattr__(name: str) -> object:
    """Load a public function when it is first used: importing behavsql imports no library."""
    if name not in _HOMES:
        raise AttributeError(f"module 'behavsql' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def build(*arguments: object, **settings: object) -> object:
    """Build and publish the warehouse a config describes; see `behavsql.api.build`."""
    from behavsql import api

    return api.build(*arguments, **settings)
