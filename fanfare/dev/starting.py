"""Start the stack and say how it goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Ports, Stack
from fanfare.dev.terminal import Terminal

NAMES = {
    "postgres": "PostgreSQL",
    "temporal": "Temporal with its web UI",
    "simulator": "APNs and FCM, simulated",
    "api": "HTTP API",
}


@contextmanager
def start_aloud(terminal: Terminal, home: Path, ports: Ports) -> Iterator[Stack]:
    """The running stack; a line for each part when it is ready. Raises StackProblem."""
    terminal.section("Starting")
    began = time.monotonic()

    def on_ready(part: ChildProcess) -> None:
        name = NAMES.get(part.name, "worker")
        terminal.done(name, seconds=time.monotonic() - began)

    with Stack.running(home, ports, on_ready=on_ready) as stack:
        yield stack
