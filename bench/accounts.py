"""Who spent what: CPU, memory and statements of the stack's processes."""

import threading
from collections.abc import Mapping, Sequence

import psutil
import psycopg

from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Stack

LOOK_SECONDS = 0.5

_STATEMENTS = """
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
    WHERE query NOT ILIKE '%pg_stat_statements%'
"""


def cpu_seconds(parts: Sequence[ChildProcess]) -> Mapping[str, float]:
    """User and system time of each process with its children, living and ended, until now."""
    return {part.name: sum(map(_cpu_of, _family(part))) for part in parts}


def count_statements(stack: Stack) -> None:
    """Have PostgreSQL count what it executes. It starts anew for that."""
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    stack.postgres.stop()
    stack.postgres.start()
    stack.postgres.wait_until(lambda: _is_up(stack))
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def statements(stack: Stack) -> int:
    """How many statements were executed since `count_statements`, BEGIN and COMMIT included."""
    with psycopg.connect(stack.database_url) as conn:
        row = conn.execute(_STATEMENTS).fetchone()
    assert row is not None
    return int(row[0])


class MemoryWatch:
    """The largest resident memory of each process, in MiB, while the block runs."""

    def __init__(self, parts: Sequence[ChildProcess]) -> None:
        self.peaks: dict[str, int] = {}
        self._parts = parts
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            for part in self._parts:
                held = psutil.Process(part.pid).memory_info().rss // 2**20
                self.peaks[part.name] = max(held, self.peaks.get(part.name, 0))


def _family(part: ChildProcess) -> Sequence[psutil.Process]:
    parent = psutil.Process(part.pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _is_up(stack: Stack) -> bool:
    try:
        psycopg.connect(stack.database_url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
