"""Between which values a model's hyperparameters are searched, see behavsql/tuning.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OneOf:
    """A choice between values without an order."""

    values: tuple[object, ...]


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, whole if both are; `log`: small ones are looked at as closely."""

    low: float
    high: float
    log: bool = False


Range = OneOf | Between
# Each class of the label as heavy as the other; only where the label has two classes.
CLASS_WEIGHTS = OneOf(("none", "balanced"))
PCA = OneOf((0, 0.9, 0.99))
