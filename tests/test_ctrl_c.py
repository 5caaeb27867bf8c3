"""Ctrl-C at any moment, once and twice: exit 130, one line, nothing half-published."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from behavsql.cli import ctrl_c

from behavsql.warehouse import connect

CLI = [sys.executable, "-m", "behavsql.cli.main"]
CONFIG = """
[settings]
models = "fast"
[[source]]
name = "shop"
path = "events.csv"
[source.columns]
user_id = "user_id"
event_at = "ts"
event_type = "event"
[tasks]
churn.enabled = false
engagement.enabled = false
next_visit.enabled = false
spend.enabled = false
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project whose build takes some seconds and trains models."""
    rows = [
        f"u{n % 97},{'view' if n * n % 7 % 3 else 'purchase'},"
        f"2024-{n % 180 // 30 + 1:02d}-{n % 28 + 1:02d} {n % 24:02d}:{n % 60:02d}:00"
        for n in range(12_000)
    ]
    (tmp_path / "events.csv").write_text(
        "user_id,event,ts\n" + "\n".join(rows) + "\n", encoding="utf-8"
    )
    (tmp_path / "behavsql.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*CLI, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=_heed_ctrl_c,
    )  # fmt: skip


def _heed_ctrl_c() -> None:
    """Tests run in the background of a shell ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped(
    process: subprocess.Popen, presses: int = 1, told: tuple[str, ...] = (ctrl_c.MESSAGE,)
) -> str:
    """What a process says that is stopped by pressing Ctrl-C; it must end by exit code 130."""
    try:
        for press in range(presses):
            time.sleep(0.05 * bool(press))
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        out, err = (text.decode() for text in process.communicate(timeout=30))
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err and "Error" not in err
    assert sum(err.count(message) for message in told) == err.count("stopped; ") == 1
    return out + err


def heard(process: subprocess.Popen, is_there: Callable[[str], bool]) -> str:
    """Read stderr up to a line; the process is still at work then."""
    lines = []
    for line in iter(process.stderr.readline, b""):
        lines.append(line.decode())
        if is_there(lines[-1]):
            return lines[-1]
    raise AssertionError("".join(lines))


def imported(folder: Path, module: str) -> Callable[[], bool]:
    """Whether a process has come to import a module: its name is written by a hook."""
    hook = (
        "import sys\n"
        "class Tell:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: open({str(folder / 'seen')!r}, 'w').close()\n"
        "sys.meta_path.insert(0, Tell())\n"
    )
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(hook, encoding="utf-8")
    return (folder / "seen").exists


def wait_for(is_seen: Callable[[], bool], process: subprocess.Popen) -> None:
    while not is_seen() and process.poll() is None:
        time.sleep(0.001)
    assert is_seen()


def pressed(*moments: str) -> pytest.MarkDecorator:
    """At each moment once or twice, in turn; the other of the two is slow."""
    return pytest.mark.parametrize(("moment", "presses"), [
        pytest.param(moment, presses, marks=[pytest.mark.slow] if (number + presses) % 2 else [])
        for number, moment in enumerate(moments) for presses in (1, 2)
    ])  # fmt: skip


@pressed("typer", "duckdb", "polars", "pydantic", "behavsql.input.sources")
def test_while_importing(shop: Path, moment: str, presses: int, monkeypatch) -> None:
    is_seen = imported(shop, moment)
    monkeypatch.setenv("PYTHONPATH", str(shop / "site"), prepend=os.pathsep)
    process = start(shop, "build")
    wait_for(is_seen, process)
    stopped(process, presses, (ctrl_c.MESSAGE, ctrl_c.NOTHING_YET))
    assert not (shop / "warehouse" / "behaviour.duckdb").exists()


@pressed("staging.events", "features.", "/ prevalence", "/ logistic")
def test_while_building(shop: Path, moment: str, presses: int) -> None:
    process = start(shop, "build")
    heard(process, lambda line: moment in line)
    stopped(process, presses, (ctrl_c.NOTHING_YET,))
    assert not (shop / "warehouse" / "behaviour.duckdb").exists()


def test_a_published_warehouse_stays_and_the_next_build_goes_on(shop: Path) -> None:
    with (shop / "behavsql.toml").open("a", encoding="utf-8") as file:
        file.write("purchase.enabled = false\n")  # nothing is trained
    build = [*CLI, "build", "-q"]
    assert subprocess.run(build, cwd=shop, check=False).returncode == 0
    published = shop / "warehouse" / "behaviour.duckdb"
    before = (published.stat().st_ino, published.stat().st_mtime_ns)
    process = start(shop, "build", "-s", "main", "-s", "publish")
    heard(process, lambda line: "main.customers" in line)  # next comes the publishing
    stopped(process)
    assert (published.stat().st_ino, published.stat().st_mtime_ns) == before
    with connect(published) as con:
        assert con.execute("select count(*) from customers").fetchall() == [(97,)]
    assert subprocess.run(build, cwd=shop, check=False).returncode == 0
    assert not list((shop / "warehouse" / ".work").glob("candidate*"))


@pressed("behavsql.sniffing.measure")
def test_while_looking_at_files(tmp_path: Path, moment: str, presses: int, monkeypatch) -> None:
    path = tmp_path / "events.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id,event,ts\n")
        line = "".join(f"u{n},view,2024-01-{n % 28 + 1:02d} 10:00:00\n" for n in range(50_000))
        file.writelines([line] * 20)
    is_seen = imported(tmp_path, moment)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    process = start(tmp_path, "init", "events.csv")
    wait_for(is_seen, process)
    stopped(process, presses)
    assert not (tmp_path / "behavsql.toml").exists() and not list(tmp_path.glob(".*"))


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A press that a library swallows still ends the command."""
    script = (
        "import sys; sys.argv = ['behavsql']\n"
        "from behavsql.cli import ctrl_c\n"
        "import os, signal, time\n"
        "ctrl_c.GRACE_SECONDS = 0.2\n"
        "ctrl_c.begin()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(10)\n"
        "except BaseException: pass\n"
        "time.sleep(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=_heed_ctrl_c,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, ctrl_c.MESSAGE)


def test_a_press_where_python_can_raise_nothing_counts() -> None:
    script = (
        "import sys; sys.argv = ['behavsql']\n"
        "from behavsql.cli import ctrl_c\n"
        "import os, signal\n"
        "ctrl_c.begin()\n"
        "class Closing:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT); [None for _ in range(9)]\n"
        "Closing()\n"
        "import time; time.sleep(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=_heed_ctrl_c,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, ctrl_c.MESSAGE)


def test_a_library_keeps_its_own_handler() -> None:
    script = (
        "import signal; before = signal.getsignal(signal.SIGINT)\n"
        "import behavsql.cli.main, behavsql\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
