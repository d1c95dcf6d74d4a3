"""`make demo` and `make dev` as a person runs them: whole processes, everything real."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from fanfare.dev import private_files

COMMAND = (sys.executable, "-m", "fanfare.dev")
PATIENCE = 90


def run(*arguments: str, temporary: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env={**os.environ, "TMPDIR": str(temporary)},
        check=False,
    )


@contextmanager
def dev(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """`make dev` over a folder, from when it says that it runs."""
    command = [*COMMAND, "dev", "--home", str(home), "--users", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert "  Running\n" in iter(running.stdout.readline, "")
            yield running
        finally:
            running.terminate()
            running.communicate(timeout=PATIENCE)


def rest_of(running: "subprocess.Popen[str]") -> tuple[str, int]:
    """What it still says, and its exit code."""
    said, _ = running.communicate(timeout=PATIENCE)
    return said, running.returncode


def addresses(home: Path) -> Mapping[str, str]:
    content: dict[str, str] = json.loads((home / "dev.json").read_text())
    return content


def part(running: "subprocess.Popen[str]", words: str) -> psutil.Process:
    """The child whose command line holds the words."""
    children = psutil.Process(running.pid).children()
    [found] = [child for child in children if words in " ".join(child.cmdline())]
    return found


def offspring(running: "subprocess.Popen[str]") -> Sequence[psutil.Process]:
    children: Sequence[psutil.Process] = psutil.Process(running.pid).children(recursive=True)
    return children


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of `make dev`: each start is a further one of the same data."""
    return tmp_path_factory.mktemp("dev") / "home"


def test_demo_reconciles_three_campaigns_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("demo", "--users", "400", "--tokens", "500", temporary=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    audiences = re.findall(r"audience +(\d+) +(\d+)", done.stdout)
    assert audiences[0] == ("500", "500")
    assert audiences[2] == ("490", "490")
    assert len(audiences) == 3
    assert done.stdout.count("accepted exactly the expected devices") == 3
    assert done.stdout.count("/namespaces/default/workflows/push-campaign-") == 3
    assert "✗" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dev_publishes_its_addresses_to_its_owner_alone(home: Path) -> None:
    with dev(home) as running:
        known = addresses(home)
        answer = httpx.get(
            f"{known['api_url']}/admin/users",
            headers={"Authorization": f"Bearer {known['api_key']}"},
            params={"limit": 500},
            trust_env=False,
        )
        mode = stat.S_IMODE((home / "dev.json").stat().st_mode)
        again = run("dev", "--home", str(home), temporary=home)
        running.send_signal(signal.SIGTERM)
        _, code = rest_of(running)

    assert list(known) == [
        "api_url", "api_key", "operator_key", "project_id", "temporal_address",
        "temporal_ui_url", "database_url", "simulator_url",
    ]  # fmt: skip
    assert mode == 0o600
    assert len(answer.json()["data"]) == 20
    assert again.returncode == 1
    assert "It runs already" in again.stdout
    assert known["api_url"] in again.stdout
    assert code == 0
    assert not (home / "dev.json").exists()


def test_dev_names_the_part_that_died(home: Path) -> None:
    with dev(home) as running:
        others = offspring(running)
        part(running, "fanfare.dev.simulator").kill()
        said, code = rest_of(running)

    assert code == 1
    assert "✗ simulator was ended by SIGKILL" in said
    assert "simulator_started" in said
    assert not any(map(psutil.Process.is_running, others))


def test_dev_keeps_its_project_for_the_next_start(home: Path) -> None:
    kept = private_files.read(home / "project.json")

    with dev(home):
        known = addresses(home)

    assert kept == {"project_id": known["project_id"], "api_key": known["api_key"]}


def test_killed_dev_leaves_nothing_running(home: Path) -> None:
    with dev(home) as running:
        left = offspring(running)
        running.kill()
        gone, alive = psutil.wait_procs(left, timeout=20)

    assert gone
    assert alive == []


def test_data_of_another_postgres_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")

    done = run("dev", "--home", str(tmp_path), temporary=tmp_path)

    assert done.returncode == 1
    assert "was made by PostgreSQL 9, and this is" in done.stdout
    assert "Traceback" not in done.stderr
