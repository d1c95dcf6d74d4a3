"""Who spent what: CPU and memory of the stack's processes; what PostgreSQL ran and wrote."""

import threading
from collections.abc import Mapping, Sequence
from typing import LiteralString

import psutil
import psycopg

from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Stack

LOOK_SECONDS = 0.5

_STATEMENTS = """
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
    WHERE query NOT ILIKE '%pg_stat_statements%'
"""

_ROWS_WRITTEN = """
    SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables
"""

_WAL_BYTES = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"

_LEDGER_BYTES = """
    SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
    WHERE inhparent = 'push_deliveries'::regclass
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
    return _number(stack, _STATEMENTS)


def rows_written(stack: Stack) -> int:
    """How many rows were inserted, updated and deleted by connections that have ended.

    Those that live tell it seconds later.
    """
    return _number(stack, _ROWS_WRITTEN)


def wal_bytes(stack: Stack) -> int:
    """How long the write-ahead log is, since ever."""
    return _number(stack, _WAL_BYTES)


def ledger_bytes(stack: Stack) -> int:
    """How large the ledger is, with its indexes."""
    return _number(stack, _LEDGER_BYTES)


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


def _number(stack: Stack, query: LiteralString) -> int:
    with psycopg.connect(stack.database_url) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _is_up(stack: Stack) -> bool:
    try:
        psycopg.connect(stack.database_url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
