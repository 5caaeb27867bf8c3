"""What the training of a network makes small, on labels in units of their mean."""

WAYS = ("likelihood", "squared_error")


def network_loss(kind: str, way: str) -> object:
    """A Keras loss.

    likelihood     binary: cross-entropy; count and amount: Poisson, right for any non-negative label
                   whose mean is asked for, and calmer than squares on long tails
    squared_error  the mean of (label - answer)^2; of probabilities, the Brier score
    Both are least where the answer is the mean.
    """
    from behavsql.models.parts.quiet_keras import import_keras

    losses = import_keras().losses
    if way == "squared_error":
        return losses.MeanSquaredError()
    return losses.BinaryCrossentropy() if kind == "binary" else losses.Poisson()
