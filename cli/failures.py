"""What the command line does when something goes wrong: one message on stderr and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator

import typer
from behavsql.cli import ctrl_c
from typer.core import TyperGroup

from behavsql.errors import BehavsqlError

FAILED = 1


class Failsafe(TyperGroup):
    """The root command: every exception of a command becomes a message and an exit code.

    0 done, 1 failed, 2 usage or configuration, 3 locked, 130 stopped by Ctrl-C. `--debug` is taken
    wherever it stands and shows the traceback.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:
        try:
            ctrl_c.begin()
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a reader that has gone away is still handled
            return result
        except (KeyboardInterrupt, Exception) as error:
            ctrl_c.end()
            is_ours = isinstance(error, BehavsqlError)
            if hasattr(error, "exit_code") and not is_ours:
                raise  # the command line parser's own: usage errors, --help, exits
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            raise typer.Exit(explain(error)) from None
        finally:
            ctrl_c.end()


def explain(error: BaseException) -> int:
    """Tell people what happened and return the exit code."""
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    if any(is_interrupt(cause) for cause in _causes(error)):
        sys.stderr.flush()
        if ctrl_c.is_heeded():
            ctrl_c.leave()  # all is closed by now, and Python's own end would not heed another press
        print(ctrl_c.message(), end="", file=sys.stderr)
        return ctrl_c.INTERRUPTED
    if isinstance(error, BehavsqlError):
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError) and error.filename and error.strerror:
        print(
            f"Error: {error.filename}: {error.strerror}; allowed is a place you may read and write, "
            f"with room left. Check its permissions and the disk.",
            file=sys.stderr,
        )
        return FAILED
    first = next(iter(str(error).splitlines()), "")
    print(
        f"Error: unexpected {type(error).__name__}: {first} (run again with --debug)",
        file=sys.stderr,
    )
    return FAILED


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from: Ctrl-C may arrive wrapped in a library's own error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def is_interrupt(error: BaseException) -> bool:
    """Whether this is how a library, or Python, says that Ctrl-C was pressed."""
    # By name and text: DuckDB need not be loaded, and its Python client raises a bare RuntimeError.
    by_duckdb = type(error).__name__ == "InterruptException" or (
        isinstance(error, RuntimeError) and str(error) == "Query interrupted"
    )
    return isinstance(error, KeyboardInterrupt) or by_duckdb
