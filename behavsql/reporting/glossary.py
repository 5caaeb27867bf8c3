"""The words of the page, explained."""

from behavsql.reporting.blocks import Section, Terms
from behavsql.reporting.context import Context

ALWAYS = [
    (
        "as of",
        "The moment predictions are for: the end of the newest event's day. What came later was not known.",
    ),
    (
        "cutoff, moment",
        "A point in time at which a question is asked. What happened up to it may be used, what came after is the answer.",
    ),
    (
        "train, valid, test",
        "Earlier cutoffs teach a model, later ones choose among models, the last ones judge. Test decides nothing.",
    ),
    (
        "published model",
        "The model whose predictions stand in the warehouse. It must surely beat the simple guesses, else a guess is published.",
    ),
    (
        "reference, simple guess",
        "prevalence says the average for everybody; persistence says what happened in the window before.",
    ),
    (
        "95% interval",
        "Where the figure would lie in 95 of 100 other draws of the same kind of users. A user asked several times counts as one.",
    ),
    ("tenth", "Users ordered by score, cut into ten equal parts; 1 holds the highest scores."),
    ("lift", "How many times as often it happens among those chosen as among all."),
    ("calibration", "Whether of users given 30% about 30% answer yes."),
]
BINARY = [
    (
        "log loss",
        "The average surprise of the answers under the predicted probabilities. Lower is better.",
    ),
    ("Brier score", "The average squared distance of probability and answer. Lower is better."),
    (
        "ROC AUC",
        "The chance that a user with a yes is ranked above one without. 0.5 is a coin, 1 is perfect.",
    ),
    ("threshold", "The probability from which on a user is called a yes."),
]
AMOUNTS = [
    (
        "deviance (Poisson, Tweedie)",
        "An error for counts and amounts that forgives more where more is expected. Lower is better.",
    ),
    (
        "root mean squared error",
        "The typical distance of prediction and answer, in the task's unit; large misses weigh more.",
    ),
    ("rank correlation", "How far the predicted order is the true order: 0 is none, 1 the same."),
]
DRIFT = [("PSI", "Population stability index: how far the users of now differ from those a model learned from. Under 0.1 is stable, over 0.25 shifted.")]  # fmt: skip
PROFIT = [
    (
        "profit",
        "Successes reached times what one is worth, minus actions times what one costs, as the config says.",
    )
]


def section(context: Context) -> Section:
    """The words that this page uses."""
    kinds = {task.kind for task in context.ready}
    pairs = [*ALWAYS]
    pairs += BINARY if "binary" in kinds else []
    pairs += AMOUNTS if kinds - {"binary"} else []
    pairs += DRIFT if context.reader.has("report.drift") else []
    pairs += PROFIT if context.reader.has("report.profit") else []
    return Section(
        "glossary", "Words", "", [Terms(sorted(pairs, key=lambda pair: pair[0].lower()))]
    )
