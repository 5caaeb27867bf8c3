"""The model card of a task: what its model learned from, what it may be used for, and what not."""

from behavsql.reporting import numbers
from behavsql.reporting.blocks import Terms
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import count, figure


def blocks(context: Context, task: Task) -> list:
    """Use, misuse, limits, data and the part of the users it serves worst, as far as they are known."""
    rows = context.reader.rows("main.model_card", task=task.name)
    if not rows:
        return []
    card = rows[0]
    pairs = [
        ("It may be used", _sentence(card.get("intended_use"))),
        ("It must not be used", _sentence(card.get("not_intended_use"))),
        ("Its limits", _sentence(card.get("limits"))),
        ("It learned from", _learned(context, card)),
        ("Whom it ranks worst", _worst(card)),
    ]
    known = [(word, text) for word, text in pairs if text]
    return [Terms(known)] if len(known) > 1 else []


def _sentence(text: object) -> str:
    """A text of the card as a sentence.

    >>> _sentence("to rank users; not more"), _sentence(None)
    ('To rank users; not more.', '')
    """
    told = str(text or "").strip().rstrip(".")
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def _learned(context: Context, card: dict) -> str:
    if card.get("count_train_rows") is None:
        return ""
    told = f"{count(card['count_train_rows'])} answers"
    if card.get("count_features"):
        told += f" and {numbers.plural(card['count_features'], 'feature')}"
    if card.get("train_from") and card.get("train_until"):
        when = context.clock.when
        told += f", asked from {when(card['train_from'])} to {when(card['train_until'])}"
    if card.get("test_from") and card.get("test_until"):
        when = context.clock.when
        told += f"; judged from {when(card['test_from'])} to {when(card['test_until'])}"
    return _sentence(told)


def _worst(card: dict) -> str:
    if not card.get("weakest_slice") or card.get("weakest_slice_auc") is None:
        return ""
    return f"{card['weakest_slice']}: ROC AUC {figure(card['weakest_slice_auc'])}."
