"""`make dev`: the whole system on one machine until Ctrl-C, its data kept for the next start.

The folder `home` holds all of it: `postgres/`, `temporal.db`, `simulator/` (the account), `logs/`,
`secrets.json`, `project.json`, and, while it runs, `dev.json` with the addresses.
"""

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from fanfare.dev import private_files
from fanfare.dev.api_client import ApiClient, ApiRefused, NewProject
from fanfare.dev.processes import StackProblem
from fanfare.dev.project import CAMPAIGN, SEGMENT, import_seed, register
from fanfare.dev.seed import Seed
from fanfare.dev.stack import DEFAULT_PORTS, Ports, Stack
from fanfare.dev.starting import start_aloud
from fanfare.dev.terminal import Terminal

DEVICES_PER_USER = 1.2
SECONDS_BETWEEN_LOOKS = 0.25


class AlreadyRunning(StackProblem):
    """Another one runs over the same folder."""


def run(terminal: Terminal, *, home: Path, users: int) -> None:
    """Start everything over the folder and watch it, until KeyboardInterrupt.

    Raises StackProblem where it cannot start or a part dies, AlreadyRunning where one runs.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home):
        terminal.title("Fanfare", f"Everything on this machine, kept in {home}. Ctrl-C ends it.")
        with start_aloud(terminal, home, Ports.find(preferred=True)) as stack:
            project = _kept_project(terminal, stack, home / "project.json", users)
            addresses = addresses_of(stack, project)
            with _published(home / "dev.json", addresses):
                _greet(terminal, stack, home, project)
                _watch(terminal, stack)


def addresses_of(stack: Stack, project: NewProject) -> Mapping[str, str]:
    """What a tool needs to know of the running stack: the content of `dev.json`."""
    return {
        "api_url": stack.api_url,
        "api_key": project.api_key,
        "operator_key": stack.secrets.operator_key,
        "project_id": str(project.project_id),
        "temporal_address": stack.temporal_address,
        "temporal_ui_url": stack.temporal_ui_url,
        "database_url": stack.database_url,
        "simulator_url": stack.simulator_url,
    }


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back however we end."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_already_running(home)) from None
        # Left by one that was killed; its addresses would mislead.
        (home / "dev.json").unlink(missing_ok=True)
        yield


def _already_running(home: Path) -> str:
    known = private_files.read(home / "dev.json")
    if known is None:
        return f"Another one is just starting or ending over {home}."
    names = {"API": "api_url", "Temporal UI": "temporal_ui_url", "phones": "simulator_url"}
    lines = [f"{name.ljust(14)}{known[key]}" for name, key in names.items()]
    return "\n".join([f"It runs already, over {home}:", *lines])


@contextmanager
def _published(path: Path, addresses: Mapping[str, str]) -> Iterator[None]:
    private_files.write(path, addresses)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _kept_project(terminal: Terminal, stack: Stack, path: Path, users: int) -> NewProject:
    terminal.section("Project")
    kept = private_files.read(path)
    if kept is not None:
        project = NewProject.model_validate(kept)
        _check_key(stack, project, path)
        terminal.done(f"the one of last time, {project.project_id}")
        return project
    project = _first_project(terminal, stack, users)
    private_files.write(path, project.model_dump(mode="json"))
    return project


def _check_key(stack: Stack, project: NewProject, path: Path) -> None:
    try:
        with ApiClient(stack.api_url, project.api_key) as api:
            api.check_key()
    except ApiRefused as error:
        raise StackProblem(
            f"The data in {path.parent} does not fit its project.json ({error}).\n"
            "Move the folder away, or remove it, to start anew."
        ) from error


def _first_project(terminal: Terminal, stack: Stack, users: int) -> NewProject:
    project = register(stack, "Development")
    terminal.done(f"project {project.project_id}, with credentials")
    seed = Seed(users, int(users * DEVICES_PER_USER), datetime.now(UTC))
    with ApiClient(stack.api_url, project.api_key) as api:
        with terminal.counting("importing users", users) as count:
            import_seed(api, seed, count)
        api.create_segment(SEGMENT)
    terminal.done(f"{seed.users:,} made-up users with {seed.tokens:,} devices to look at")
    terminal.done(f"segment {SEGMENT['id']}: not seen for 7 days")
    return project


def _greet(terminal: Terminal, stack: Stack, home: Path, project: NewProject) -> None:
    terminal.section("Running")
    terminal.pairs(
        {
            "API": stack.api_url,
            "API docs": f"{stack.api_url}/docs",
            "Temporal UI": stack.temporal_ui_url,
            "phones": f"{stack.simulator_url}/",
            "PostgreSQL": f"127.0.0.1:{stack.ports.postgres}",
            "keys": f"{home / 'dev.json'}, for programs too",
            "logs": str(home / "logs"),
        }
    )
    if taken := _taken_ports(stack.ports):
        terminal.note(f"Taken: {', '.join(taken)}. Free ports stand in.")
    terminal.section("Try", "create a campaign, then send it with the id of the answer")
    terminal.say()
    terminal.verbatim(_first_requests(stack.api_url, project.api_key))
    terminal.say()


def _taken_ports(chosen: Ports) -> list[str]:
    ports = asdict(chosen)
    return [f"{port} ({name})" for name, port in DEFAULT_PORTS.items() if ports[name] != port]


def _first_requests(url: str, key: str) -> list[str]:
    authorization = '-H "Authorization: Bearer $KEY"'
    return [
        f"  API={url}/admin",
        f"  KEY={key}",
        "",
        f"  curl $API/push {authorization} \\",
        "    -H 'Content-Type: application/json' -d '{",
        f'    "name": "{CAMPAIGN["name"]}", "segment_id": "{CAMPAIGN["segment_id"]}",',
        f'    "title": "{CAMPAIGN["title"]}", "body": "{CAMPAIGN["body"]}"}}\'',
        "",
        f"  curl -X POST $API/push/ID/send {authorization}",
    ]


def _watch(terminal: Terminal, stack: Stack) -> None:
    try:
        while True:
            stack.check()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        terminal.say()
        terminal.note("Stopping.")
        raise
