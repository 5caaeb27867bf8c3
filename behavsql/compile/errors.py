"""Why a model cannot become SQL."""

from behavsql.errors import ModelError


class CompileError(ModelError):
    """A model with something in it that has no exact SQL; it stays in Python."""
