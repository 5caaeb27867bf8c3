"""Ctrl-C at any moment: the first press asks the command to stop, what hangs or is lost is ended.

Ending a build hard is safe at any time: what is published is replaced in one step, and the build
file goes on from its last finished step. So nothing here waits for long.
"""

import _signal as signal  # not `signal`: that loads `enum` and `re`, and a press may come meanwhile
import os
import sys

INTERRUPTED = 130
GRACE_SECONDS = 5.0
MESSAGE = "stopped; what was published is as it was\n"
NOTHING_YET = "stopped; nothing is published yet; the same command goes on where it stopped\n"


class Pressed(KeyboardInterrupt):
    """A press of Ctrl-C. Not KeyboardInterrupt itself: once that passes through an extension module,
    Python ends with the signal instead of the exit code.
    """


class _State:
    """Whether a command runs that can be asked, and what was done so far."""

    is_running = False
    is_asked = False
    has_told = False
    published = ""  # the file that the command will publish; empty while that is not known


def heed() -> None:
    """Take over Ctrl-C for the rest of the process; a handler that somebody else set stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _pressed)
        sys.unraisablehook = _unraisable


def is_heeded() -> bool:
    """Whether `heed` is in force."""
    return signal.getsignal(signal.SIGINT) is _pressed


def begin() -> None:
    """From now on a command runs, which a KeyboardInterrupt stops in good order."""
    _State.is_running, _State.published = True, ""


def end() -> None:
    """The command is done; a press from now on ends the process at once."""
    _State.is_running = False


def publishing(path: str) -> None:
    """From now on the command that runs is a build that publishes this file."""
    _State.published = path


def message() -> str:
    """What is said of a command that was stopped."""
    is_first = _State.published and not os.path.exists(_State.published)
    return NOTHING_YET if is_first else MESSAGE


def tell() -> None:
    """Say once that it was stopped."""
    if not _State.has_told:
        _State.has_told = True
        os.write(2, message().encode())  # not print: a second press may come while printing


def leave() -> None:
    """End the process at once."""
    tell()
    os._exit(INTERRUPTED)


def _pressed(number: int, frame: object) -> None:
    if not _State.is_running or _State.is_asked:
        leave()
    _State.is_asked = True
    # A library that is still loading may lose the exception, and cleaning up may hang.
    import threading

    timer = threading.Timer(GRACE_SECONDS, leave)
    timer.daemon = True
    timer.start()
    raise Pressed


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised where nobody can catch it, such as in a callback."""
    if issubclass(found.exc_type, KeyboardInterrupt):
        leave()
    sys.__unraisablehook__(found)
