"""PostgreSQL and MariaDB, really running: unprivileged, on loopback, on a free port, in a folder of their own."""

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "s3cret/%:@ü"  # every sign that a URL must write otherwise
PATIENCE = 60  # seconds for a server to answer
# Where packages put servers that are not on the path of users.
PLACES = ["/usr/sbin", "/usr/local/sbin", *sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]]
UNPRIVILEGED = "nobody"  # servers refuse to be root


@dataclass(frozen=True)
class Server:
    """How to reach a server as its owner, whose password needs escaping in a URL."""

    scheme: str
    port: int
    user: str = "owner"

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"{self.scheme}://{self.user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"


def binary(*names: str) -> str:
    """The first program of these names that is there; else the tests skip, and say so."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    found = next((place for name in names if (place := shutil.which(name, path=path))), None)
    if found is None:
        pytest.skip(f"NOT TESTED: the server program {' or '.join(names)} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that belongs to whom the servers run as; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bsql"))  # short: the path of a socket has 107 letters
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_owner() -> dict:
    user = {"user": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True} | user


def _prepare(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, check=False, **_as_owner())
    assert done.returncode == 0, done.stderr


@contextmanager
def _running(command: list[str], folder: Path, answers: Callable[[], None]) -> Iterator[None]:
    """A server for as long as the block runs; stopped by its own process id on every path."""
    log = folder / "log"
    with log.open("w") as output:
        options = _as_owner() | {"stdout": output, "stderr": subprocess.STDOUT, "cwd": folder}
        process = subprocess.Popen(command, **options)
    try:
        _wait(process, answers, log)
        yield
    finally:
        process.send_signal(signal.SIGINT if "postgres" in command[0] else signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen, answers: Callable[[], None], log: Path) -> None:
    last: Exception | None = None
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            return answers()
        except Exception as error:
            last = error
            time.sleep(0.1)
    raise AssertionError(f"no answer within {PATIENCE} s: {last}\n{log.read_text()}")


@contextmanager
def postgres() -> Iterator[Server]:
    """PostgreSQL that asks for passwords (SCRAM)."""
    adbc = pytest.importorskip("adbc_driver_postgresql.dbapi", reason="NOT TESTED: no ADBC")
    initdb, program = binary("initdb"), binary("postgres")
    server = Server("postgresql", free_port())
    with _folder() as folder:
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(secret, UNPRIVILEGED)
        _prepare(
            initdb, "-D", str(folder / "data"), "-U", server.user, "--auth=scram-sha-256",
            f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--locale=C", folder=folder,
        )  # fmt: skip
        command = [program, "-D", str(folder / "data"), "-p", str(server.port), "-F",
                   "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]  # fmt: skip
        with _running(command, folder, lambda: adbc.connect(server.url("postgres")).close()):
            yield server


@contextmanager
def mariadb() -> Iterator[Server]:
    """MariaDB (or MySQL) in a zone of its own, with a database called shop."""
    pymysql = pytest.importorskip("pymysql", reason="NOT TESTED: no PyMySQL")
    pytest.importorskip("connectorx", reason="NOT TESTED: no connectorx")
    install, program = (
        binary("mariadb-install-db", "mysql_install_db"),
        binary("mariadbd", "mysqld"),
    )
    server = Server("mysql", free_port())
    with _folder() as folder:
        data = folder / "data"
        _prepare(
            install, "--no-defaults", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", folder=folder,
        )  # fmt: skip
        secret = PASSWORD.replace("'", "''")
        (folder / "init.sql").write_text(
            "create database shop;\n"
            f"create user '{server.user}'@'%' identified by '{secret}';\n"
            f"grant all on *.* to '{server.user}'@'%';\n",
            encoding="utf-8",
        )
        command = [
            program, "--no-defaults", f"--datadir={data}", f"--port={server.port}",
            "--bind-address=127.0.0.1", f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}",
            f"--init-file={folder / 'init.sql'}", "--default-time-zone=+05:30",
            "--character-set-server=utf8mb4", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0",
        ]  # fmt: skip
        connect = {"host": "127.0.0.1", "port": server.port, "user": server.user}
        with _running(
            command, folder, lambda: pymysql.connect(**connect, password=PASSWORD.encode()).close()
        ):
            yield server
