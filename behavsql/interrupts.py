"""Ctrl-C for long queries: DuckDB sees it only while the main thread itself works on the query."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


@contextmanager
def interruptible(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Stop what `con` runs when Ctrl-C is pressed inside the block.

    The main thread may wait inside DuckDB for minutes, where no Python handler runs. The signal's
    number is written to a socket at once though, and a thread that reads it interrupts the query,
    which then raises. Outside the main thread, where no signal arrives, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, con), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        writer.close()  # the watcher reads the end and is done
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, con: duckdb.DuckDBPyConnection) -> None:
    while number := reader.recv(1):
        if number[0] == signal.SIGINT:
            con.interrupt()
