"""Everything on one machine: PostgreSQL, Temporal, the provider simulator, API and worker.

Each is a child process with a log of its own. The parts are the real ones; only the providers are
simulated, and API and worker know no more of that than their addresses.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Self, TypeAlias

import httpx
import psycopg
from sqlalchemy.exc import SQLAlchemyError

from fanfare.db import migrate
from fanfare.dev import postgres, temporal_server
from fanfare.dev.processes import ChildProcess, PortTaken, StackProblem, free_ports, listens
from fanfare.dev.stack_secrets import Secrets

# Where a person would look for each; taken ones are replaced by free ones.
DEFAULT_PORTS = {
    "postgres": 54329,
    "temporal": 7233,
    "temporal_ui": 8233,
    "provider": 8443,
    "sandbox": 8444,
    "simulator": 8025,
    "api": 8000,
}

CHECKOUT = Path(__file__).parents[2]

# What a start and a small campaign write, with room to spare.
NEEDED_BYTES = 512 * 1024 * 1024

# How often other ports are tried where somebody else takes one between the look and the start.
START_ATTEMPTS = 3

# How long the parts may take to end before they are killed.
STOP_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Which port of 127.0.0.1 each part listens on."""

    postgres: int
    temporal: int
    temporal_ui: int
    provider: int
    sandbox: int
    simulator: int
    api: int

    @classmethod
    def find(cls, *, preferred: bool) -> Self:
        """Free ports: the usual ones where `preferred` and not taken, else any."""
        wanted = DEFAULT_PORTS if preferred else dict.fromkeys(DEFAULT_PORTS, 0)
        return cls(**free_ports(wanted))


OnReady: TypeAlias = Callable[[ChildProcess], None]


class Stack:
    """The running parts. Use `running()`; the rest is for looking at it, and for breaking it."""

    def __init__(self, home: Path, ports: Ports, *, workers: int = 1) -> None:
        self.home = home
        self.ports = ports
        self.secrets = Secrets.keep(home / "secrets.json")
        self.api_url = f"http://127.0.0.1:{ports.api}"
        self.temporal_address = f"127.0.0.1:{ports.temporal}"
        self.temporal_ui_url = f"http://127.0.0.1:{ports.temporal_ui}"
        self.simulator_url = f"http://127.0.0.1:{ports.simulator}"
        password = self.secrets.database_password
        self.database_url = postgres.url(ports.postgres, password=password)
        self.account = home / "simulator"
        self.postgres = postgres.server(
            home / "postgres",
            port=ports.postgres,
            log=self._log("postgres"),
            password=password,
        )
        self.temporal = temporal_server.server(
            home / "temporal.db",
            port=ports.temporal,
            ui_port=ports.temporal_ui,
            log=self._log("temporal"),
        )
        self.simulator = self._python("simulator", self._simulator_arguments())
        self.api = self._python("api", ["-m", "api"], self._api_environment())
        self.workers = [
            self._python(name, self._worker_arguments(), self._worker_environment())
            for name in (f"worker-{number}" for number in range(1, workers + 1))
        ]

    @classmethod
    @contextmanager
    def running(
        cls, home: Path, ports: Ports, *, workers: int = 1, on_ready: OnReady | None = None
    ) -> Iterator[Self]:
        """Start all parts, in the order in which they need each other, and end them all after.

        Where a port is taken meanwhile, all start anew on others. Raises StackProblem, with the
        end of the log of whoever did not start.
        """
        _check_disk(home)
        with ExitStack() as running:
            stack = cls._started(running, home.resolve(), ports, workers, on_ready)
            yield stack

    @classmethod
    def _started(
        cls, running: ExitStack, home: Path, ports: Ports, workers: int, on_ready: OnReady | None
    ) -> Self:
        for attempt in count(1):
            try:
                with ExitStack() as starting:
                    stack = cls(home, ports, workers=workers)
                    starting.callback(stack.stop)
                    stack.start(on_ready)
                    running.push(starting.pop_all())
                    return stack
            except PortTaken:
                if attempt == START_ATTEMPTS:
                    raise
            ports = Ports.find(preferred=False)
        raise AssertionError("count never ends")

    def start(self, on_ready: OnReady | None = None) -> None:
        """Start all parts and wait until each is ready; `on_ready` hears of each in turn."""
        tell = on_ready or (lambda _: None)
        for part in (self.postgres, self.temporal, self.simulator):
            part.start()
        self._prepare_database()
        tell(self.postgres)
        # Most of a start is Python's imports: these begin before the others are waited for.
        for part in (self.api, *self.workers):
            part.start()
        for part, is_ready in self._signs_of_readiness():
            self._wait(part, is_ready)
            tell(part)

    def stop(self) -> None:
        """End all parts, those first that need the others. An interrupt here kills what is left."""
        try:
            _stop_all([self.api, *self.workers])
            _stop_all([self.simulator, self.temporal, self.postgres])
        finally:
            for part in self.parts:
                part.kill()

    @property
    def parts(self) -> Sequence[ChildProcess]:
        """Every process, in the order of their start."""
        return [self.postgres, self.temporal, self.simulator, self.api, *self.workers]

    def check(self) -> None:
        """Raise ProcessDied where a part has ended by itself."""
        for part in self.parts:
            part.check()

    def workflow_url(self, campaign_id: str) -> str:
        """A campaign's page in the Temporal web UI."""
        workflows = f"{self.temporal_ui_url}/namespaces/default/workflows"
        return f"{workflows}/push-campaign-{campaign_id}"

    def _signs_of_readiness(self) -> Sequence[tuple[ChildProcess, Callable[[], bool]]]:
        return [
            (self.temporal, lambda: listens(self.ports.temporal)),
            (self.simulator, lambda: answers(f"{self.simulator_url}/healthz")),
            (self.api, lambda: answers(f"{self.api_url}/readyz")),
            *((worker, partial(worker.has_logged, "worker_ready")) for worker in self.workers),
        ]

    def _wait(self, awaited: ChildProcess, is_ready: Callable[[], bool]) -> None:
        def all_live_and_ready() -> bool:
            # What answers at an address need not be ours: the others may have died meanwhile.
            self.check()
            return is_ready()

        awaited.wait_until(all_live_and_ready)

    def _prepare_database(self) -> None:
        port, password = self.ports.postgres, self.secrets.database_password
        self._wait(self.postgres, lambda: postgres.accepts(port, password=password))
        try:
            postgres.ensure_database(port, password=password)
            migrate.upgrade(self.database_url)
        except (psycopg.Error, SQLAlchemyError) as error:
            self.postgres.check()
            log = f"PostgreSQL's last lines:\n{self.postgres.tail()}"
            raise StackProblem(f"The database cannot be prepared: {error}\n{log}") from error

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _python(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> ChildProcess:
        return ChildProcess(
            name,
            [sys.executable, *arguments],
            self._log(name),
            environment={"PYTHONUNBUFFERED": "1", **(environment or {})},
            directory=CHECKOUT,
        )

    def _simulator_arguments(self) -> Sequence[str]:
        ports = self.ports
        return [
            *("-m", "fanfare.dev.simulator", "--directory", str(self.account)),
            *("--port", str(ports.provider), "--sandbox-port", str(ports.sandbox)),
            *("--control-port", str(ports.simulator)),
        ]

    def _worker_arguments(self) -> Sequence[str]:
        return ["worker.py"]

    def _common_environment(self) -> Mapping[str, str]:
        return {
            "FANFARE_DATABASE_URL": self.database_url,
            "FANFARE_KEK": self.secrets.kek,
            "TEMPORAL_ADDRESS": self.temporal_address,
            # Not the profile of whoever works with another Temporal on this machine.
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }

    def _api_environment(self) -> Mapping[str, str]:
        return {
            **self._common_environment(),
            "FANFARE_KEY_PEPPER": self.secrets.key_pepper,
            "FANFARE_OPERATOR_KEY": self.secrets.operator_key,
            "FANFARE_PORT": str(self.ports.api),
            "FANFARE_TEMPORAL_UI_URL": self.temporal_ui_url,
        }

    def _worker_environment(self) -> Mapping[str, str]:
        provider = f"https://127.0.0.1:{self.ports.provider}"
        return {
            **self._common_environment(),
            "FANFARE_APNS_URL": provider,
            "FANFARE_APNS_SANDBOX_URL": f"https://127.0.0.1:{self.ports.sandbox}",
            "FANFARE_FCM_URL": provider,
            "FANFARE_OAUTH_URL": f"{provider}/token",
            "FANFARE_PROVIDER_CA_FILE": str(self.account / "ca.pem"),
        }


def _stop_all(parts: Sequence[ChildProcess]) -> None:
    for part in parts:
        part.ask_to_stop()
    for part in parts:
        part.wait_for_end(seconds=STOP_SECONDS)


def _check_disk(home: Path) -> None:
    existing = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < NEEDED_BYTES:
        have, need = free // 2**20, NEEDED_BYTES // 2**20
        raise StackProblem(f"{existing} has {have} MB left; the stack needs {need} MB to start.")


def answers(url: str) -> bool:
    """Whether an HTTP server answers there with success."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
