"""Child processes: how they start, how they die, and what is said of it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from fanfare.dev.processes import (
    ChildProcess,
    PortTaken,
    ProcessDied,
    StartTimedOut,
    free_ports,
    listens,
)

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP
PARENT = """
import sys
from pathlib import Path
from fanfare.dev.processes import ChildProcess

child = ChildProcess("child", [sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]))
child.start()
child.wait_until(lambda: child.has_logged("up"))
print(child.pid, flush=True)
sys.stdin.read()
"""

MakeChild = Callable[[str], ChildProcess]


@pytest.fixture
def child_of(tmp_path: Path) -> Iterator[MakeChild]:
    with ExitStack() as made:

        def make(code: str) -> ChildProcess:
            log = tmp_path / "logs" / "child.log"
            child = ChildProcess("child", [sys.executable, "-c", code], log)
            made.callback(child.kill)
            child.start()
            return child

        yield make


def test_waits_until_ready(child_of: MakeChild) -> None:
    child = child_of(SLEEP)

    child.wait_until(lambda: child.has_logged("up"))

    child.check()
    assert child.pid is not None


def test_says_how_a_child_died(child_of: MakeChild) -> None:
    child = child_of("print('no such table'); raise SystemExit(3)")

    with pytest.raises(ProcessDied, match=r"child ended with exit code 3(.|\n)*no such table"):
        child.wait_until(lambda: False)


def test_names_the_signal_that_ended_a_child(child_of: MakeChild) -> None:
    child = child_of("import os; os.kill(os.getpid(), 9)")

    with pytest.raises(ProcessDied, match="was ended by SIGKILL"):
        child.wait_until(lambda: False)


def test_tells_a_taken_port_from_other_deaths(child_of: MakeChild) -> None:
    child = child_of("raise SystemExit('OSError: [Errno 98] Address already in use')")

    with pytest.raises(PortTaken):
        child.wait_until(lambda: False)


def test_gives_up_on_a_child_that_never_gets_ready(child_of: MakeChild) -> None:
    child = child_of(SLEEP)

    with pytest.raises(StartTimedOut, match="not ready within 0 s"):
        child.wait_until(lambda: False, seconds=0)


def test_a_restarted_child_is_judged_by_its_new_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("worker_ready, and address already in use\n")
    child = ChildProcess("child", [sys.executable, "-c", "raise SystemExit(1)"], log)
    child.start()

    assert not child.has_logged("worker_ready")
    with pytest.raises(ProcessDied, match="it wrote nothing") as death:
        child.wait_until(lambda: False)
    assert death.type is ProcessDied


def test_stop_ends_a_child(child_of: MakeChild) -> None:
    child = child_of(SLEEP)
    pid = child.pid
    child.wait_until(lambda: child.has_logged("up"))

    child.stop()
    child.stop()

    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_stop_kills_a_child_that_does_not_listen(child_of: MakeChild) -> None:
    child = child_of(DEAF)
    pid = child.pid
    child.wait_until(lambda: child.has_logged("up"))

    child.stop(seconds=0.1)

    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_a_killed_parent_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "child.log"), SLEEP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))

        os.kill(parent.pid, signal.SIGKILL)

    assert child.wait(timeout=10) is None


def test_ports_are_different_and_free() -> None:
    ports = free_ports(dict.fromkeys("abcdef", 0))

    assert len(set(ports.values())) == 6
    assert not any(map(listens, ports.values()))


def test_a_taken_port_is_replaced() -> None:
    usual = free_ports({"api": 0})["api"]

    with socket.create_server(("127.0.0.1", usual)):
        assert listens(usual)
        assert free_ports({"api": usual})["api"] != usual
    assert free_ports({"api": usual})["api"] == usual
