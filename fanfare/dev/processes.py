"""Child processes of the development stack: started with a log, watched, and ended by us.

On Linux a child also ends when its parent is killed, so that nothing is left running.
"""

import ctypes
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1  # prctl(2)

# What may lead to somebody's own Temporal or PostgreSQL.
FOREIGN = ("TEMPORAL_", "PG")

TAIL_BYTES = 16 * 1024

# A longer log is put aside at the next start.
MAX_LOG_BYTES = 20 * 1024 * 1024


# How servers of C, Go and Python say that somebody else was quicker.
_PORT_IS_TAKEN = re.compile(r"address (is )?already in use", re.IGNORECASE)


class StackProblem(Exception):
    """The stack cannot start, or cannot go on. The text is for the person at the terminal."""


class ProcessDied(StackProblem):
    """A child ended by itself. The text holds its name, its exit code and the end of its log."""


class PortTaken(ProcessDied):
    """A child ended because something else listens on its port."""


class StartTimedOut(StackProblem):
    """A child did not become ready in time."""


@dataclass(slots=True)
class ChildProcess:
    """One child. `user` (a system account) only has an effect where we run as root."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    directory: Path | None = None
    _popen: "subprocess.Popen[bytes] | None" = None
    _log_start: int = 0

    def start(self) -> None:
        """Start it with its output appended to the log. Raises OSError where it cannot start."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_inherited(), **self.environment},
                cwd=self.directory,
                **account_options(self.user),
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one prctl call
            )

    @property
    def pid(self) -> int | None:
        return None if self._popen is None else self._popen.pid

    def check(self) -> None:
        """Raise ProcessDied (or PortTaken) where it has ended, and nothing where it lives."""
        if self._popen is None or (code := self._popen.poll()) is None:
            return
        reason = f"{self.name} {_ending(code)}. Its last lines ({self.log}):\n{self.tail()}"
        raise PortTaken(reason) if _PORT_IS_TAKEN.search(self.tail()) else ProcessDied(reason)

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 60.0) -> None:
        """Return when `ready()` holds. Raises ProcessDied or StartTimedOut."""
        limit = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > limit:
                late = f"{self.name} was not ready within {seconds:.0f} s"
                raise StartTimedOut(f"{late}. Its last lines:\n{self.tail()}")
            time.sleep(0.05)

    def has_logged(self, text: str) -> bool:
        """Whether it has written the text since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def kill(self) -> None:
        """End it as a crash would, at once, and reap it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def ask_to_stop(self) -> None:
        """Send it its stop signal, and do not wait."""
        if self._popen is not None:
            self._popen.send_signal(self.stop_signal)

    def stop(self, *, seconds: float = 20.0) -> None:
        """Ask it to end, wait, and kill what does not listen. Idempotent."""
        self.ask_to_stop()
        self.wait_for_end(seconds=seconds)

    def wait_for_end(self, *, seconds: float) -> None:
        """Wait until it has ended, and kill it where it takes longer. Idempotent."""
        if self._popen is None:
            return
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen = None

    def tail(self, lines: int = 12) -> str:
        """The end of what it has written since its start."""
        if not self.log.exists():
            return "  (no log)"
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - TAIL_BYTES))
            written = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in written[-lines:]) or "  (it wrote nothing)"


class AccountOptions(TypedDict):
    """What `subprocess` takes to run a command as somebody else."""

    user: str | None
    group: int | None
    extra_groups: Sequence[int] | None


def account_options(user: str | None) -> AccountOptions:
    """For `subprocess`, to run a command as that system account and in its group alone.

    With root's group left on, the group's rights would count where those of others are meant.
    """
    if user is None:
        return AccountOptions(user=None, group=None, extra_groups=None)
    return AccountOptions(user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[])


def end_with_parent() -> None:
    """Have the kernel send SIGKILL when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(preferred: Mapping[str, int], *, host: str = "127.0.0.1") -> Mapping[str, int]:
    """A port for each name, all different: the preferred one where nothing listens on it, else one
    that the system picks (0 prefers none).

    Somebody else may take one before it is used; then its process ends with PortTaken.
    """
    with ExitStack() as held:
        probes = {name: held.enter_context(_bound(host, port)) for name, port in preferred.items()}
        return {name: probe.getsockname()[1] for name, probe in probes.items()}


def listens(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _bound(host: str, port: int) -> socket.socket:
    probe = socket.socket()
    try:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except OSError:
        probe.close()
        probe = socket.socket()
        probe.bind((host, 0))
    return probe


def _inherited() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"
