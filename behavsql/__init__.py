"""behavsql: predict what users will do, in SQL.

    behavsql.build("behavsql.toml")              build and publish a warehouse
    behavsql.connect("warehouse")                open a published one, read-only
    behavsql.predict_user_behavior(events)       events in, (predictions, metrics) out
"""

__version__ = "0.1.0"
__all__ = ["build", "connect", "predict_user_behavior"]
