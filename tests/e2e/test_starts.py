"""API and workers that are started before what they stand on, or wrongly configured."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fanfare.db import migrate
from fanfare.dev import postgres, temporal_server
from fanfare.dev.processes import ChildProcess, free_ports
from fanfare.dev.stack import CHECKOUT, answers
from fanfare.dev.stack_secrets import Secrets

PROGRAMS = {"api": ["-m", "api"], "worker": ["worker.py"]}
SECRET = "do-not-show-this"

NO_ROLE = "The database has no role fanfare_api yet: run `python -m fanfare.db.migrate`."
OLD = "The database is at migration 0004, this code needs "


@dataclass(frozen=True, slots=True)
class Site:
    """Ports and secrets of an installation of which nothing runs yet."""

    home: Path
    ports: Mapping[str, int]
    secrets: Secrets

    @property
    def database_url(self) -> str:
        return postgres.url(self.ports["postgres"], password=self.secrets.database_password)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PYTHONUNBUFFERED": "1",
            "FANFARE_DATABASE_URL": self.database_url,
            "FANFARE_KEK": self.secrets.kek,
            "FANFARE_KEY_PEPPER": self.secrets.key_pepper,
            "FANFARE_OPERATOR_KEY": self.secrets.operator_key,
            "FANFARE_PORT": str(self.ports["api"]),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.ports['temporal']}",
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }

    def program(self, name: str) -> ChildProcess:
        return ChildProcess(
            name,
            [sys.executable, *PROGRAMS[name]],
            self.home / f"{name}.log",
            environment=self.environment,
            directory=CHECKOUT,
        )

    def postgres(self) -> ChildProcess:
        return postgres.server(
            self.home / "postgres",
            port=self.ports["postgres"],
            log=self.home / "postgres.log",
            password=self.secrets.database_password,
        )

    def temporal(self) -> ChildProcess:
        return temporal_server.server(
            self.home / "temporal.db",
            port=self.ports["temporal"],
            ui_port=self.ports["ui"],
            log=self.home / "temporal.log",
        )

    def accepts(self) -> bool:
        return postgres.accepts(self.ports["postgres"], password=self.secrets.database_password)

    def make_database(self) -> None:
        postgres.ensure_database(self.ports["postgres"], password=self.secrets.database_password)

    def run(self, name: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Start the program with other settings, and wait until it has ended by itself."""
        return subprocess.run(
            [sys.executable, *PROGRAMS[name]],
            env={**os.environ, **self.environment, **changes},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    ports = free_ports(dict.fromkeys(("postgres", "temporal", "ui", "api"), 0))
    return Site(tmp_path, ports, Secrets.keep(tmp_path / "secrets.json"))


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as started:
        yield started


def start(started: ExitStack, process: ChildProcess) -> ChildProcess:
    process.start()
    started.callback(process.kill)
    return process


def ready(site: Site) -> Mapping[str, str | None]:
    """What each check of the API says: a reason, or nothing."""
    checks = httpx.get(f"{site.api_url}/readyz", timeout=10, trust_env=False).json()["checks"]
    return {name: check["reason"] for name, check in checks.items()}


def test_processes_wait_for_what_they_stand_on_and_go_on_by_themselves(
    site: Site, started: ExitStack
) -> None:
    api, worker = (start(started, site.program(name)) for name in ("api", "worker"))
    api.wait_until(lambda: answers(f"{site.api_url}/healthz"))
    worker.wait_until(lambda: worker.has_logged("PostgreSQL does not answer."))
    worker.wait_until(lambda: worker.has_logged("Temporal does not answer."))
    without_all = ready(site)
    refused = httpx.get(f"{site.api_url}/admin/push", timeout=20, trust_env=False)

    database = start(started, site.postgres())
    database.wait_until(site.accepts)
    worker.wait_until(lambda: worker.has_logged("no such database"))
    site.make_database()
    worker.wait_until(lambda: worker.has_logged("The database has no tables yet"))
    api.wait_until(lambda: ready(site)["schema"] == NO_ROLE)
    migrate.upgrade(site.database_url, "0004")
    worker.wait_until(lambda: worker.has_logged("The database is at migration 0004"))
    api.wait_until(lambda: api.has_logged("The database is at migration 0004"))
    api.wait_until(lambda: str(ready(site)["schema"]).startswith(OLD))
    refused_by_old = httpx.get(f"{site.api_url}/admin/push", timeout=20, trust_env=False)
    migrate.upgrade(site.database_url)
    temporal = start(started, site.temporal())
    worker.wait_until(lambda: worker.has_logged("worker_ready"))
    api.wait_until(lambda: answers(f"{site.api_url}/readyz"))
    worker.wait_until(lambda: heard(site) == 1)
    served = httpx.get(f"{site.api_url}/admin/push", timeout=20, trust_env=False)
    worker.stop()
    api.wait_until(lambda: heard(site) == 0)

    assert without_all == {
        "postgres": "PostgreSQL does not answer.",
        "schema": "PostgreSQL does not answer.",
        "temporal": "Temporal does not answer.",
    }
    assert [refused.status_code, refused_by_old.status_code] == [503, 503]
    assert refused_by_old.headers["Retry-After"] == "5"
    assert refused_by_old.json()["error"]["code"] == "DATABASE_UNAVAILABLE"
    assert served.status_code == 401
    assert temporal.pid
    assert "Traceback" not in (site.home / "worker.log").read_text()
    assert "Traceback" not in (site.home / "api.log").read_text()


def heard(site: Site) -> int:
    """How many workers the API heard of."""
    answer = httpx.get(f"{site.api_url}/readyz", timeout=10, trust_env=False)
    live: int = answer.json()["workers"]["live"]
    return live


@pytest.mark.parametrize("name", PROGRAMS)
def test_process_that_waits_ends_at_once_when_told_to(
    site: Site, started: ExitStack, name: str
) -> None:
    process = start(started, site.program(name))
    process.wait_until(lambda: process.has_logged('"waiting"'))

    began = time.monotonic()
    process.stop()

    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("worker", "FANFARE_KEK", SECRET),
        ("worker", "TEMPORAL_ADDRESS", "127.0.0.1:port"),
        ("api", "FANFARE_KEY_PEPPER", SECRET),
        ("api", "TEMPORAL_ADDRESS", "127.0.0.1:port"),
    ],
)
def test_wrong_setting_is_named_in_one_line(
    site: Site, name: str, variable: str, value: str
) -> None:
    ended = site.run(name, **{variable: value})

    lines = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert [variable in line for line in lines] == [True], ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_refused_password_is_said_and_ends_the_process(
    site: Site, started: ExitStack, name: str
) -> None:
    database = start(started, site.postgres())
    database.wait_until(site.accepts)
    url = postgres.url(site.ports["postgres"], password=SECRET)

    ended = site.run(name, FANFARE_DATABASE_URL=url)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(
        "PostgreSQL refuses the user or the password of FANFARE_DATABASE_URL."
    )
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
