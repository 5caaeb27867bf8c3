"""One file = one way to learn whom to act upon, and one line here = it is learned and judged.

The values are strings so that importing this package loads no library a policy is written in.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from behavsql.policies.base import Policy

POLICIES: dict[str, str] = {
    "nobody": "behavsql.policies.references:Nobody",
    "everybody": "behavsql.policies.references:Everybody",
    "t_learner": "behavsql.policies.t_learner:TLearner",
    "x_learner": "behavsql.policies.x_learner:XLearner",
    "q_table": "behavsql.policies.q_table:QTable",
    "dqn": "behavsql.policies.dqn:DQN",
}
REFERENCES = ("nobody", "everybody")
OUTCOME = "t_learner"  # whose expected rewards doubly robust estimates start from

# By the setting `models`.
POLICY_SETS: dict[str, tuple[str, ...]] = {
    "fast": (*REFERENCES, "t_learner", "q_table"),
    "standard": (*REFERENCES, "t_learner", "x_learner", "q_table"),
    "all": (*REFERENCES, "t_learner", "x_learner", "q_table", "dqn"),
}


def policy_class(name: str) -> "type[Policy]":
    """The class registered under `name`."""
    module, _, cls = POLICIES[name].partition(":")
    return getattr(import_module(module), cls)
