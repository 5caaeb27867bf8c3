"""Import Keras without what TensorFlow prints while it starts."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

POOLS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def import_keras(threads: int | None = None):
    """The keras module; the variable alone no longer silences TensorFlow 2.21's first lines.

    threads: how many TensorFlow may use; it asks once, so only the first call of a process counts.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        for pool in POOLS if threads else ():
            os.environ.setdefault(pool, str(threads))
        with _errors_held_back():
            import keras
    import keras

    return keras


@contextmanager
def _errors_held_back() -> Iterator[None]:
    """What is written to file descriptor 2 meanwhile appears only if the body raises."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
