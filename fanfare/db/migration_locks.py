"""How a migration waits: for another migration, and for tables that somebody holds.

A statement that waits for a table's lock has all who come after it wait behind it, senders too. So
a migration waits briefly for a lock, gives up, and comes back; meanwhile everybody else goes on.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

# Takes a line for the person at the terminal.
Tell: TypeAlias = Callable[[str], None]

LOCK = 0x66616E66617265  # "fanfare": any number that nobody else takes

# How long senders may be held up by one try. Below PostgreSQL's deadlock_timeout of 1 s, so that
# where a migration and a sender wait for each other, the migration gives up.
LOCK_TIMEOUT = timedelta(milliseconds=800)

CONNECT_SECONDS = 5
NEXT_TURN_SECONDS = 0.5
LOOK_SECONDS = 0.2

_TRY = sa.text("SELECT pg_try_advisory_lock(:lock)")
_MIGRATING = sa.text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND (classid::bigint << 32 | objid::bigint) = :lock"
)
_BLOCKING = sa.text("SELECT unnest(pg_blocking_pids(:pid))")
# Not what they run: a statement may hold device tokens.
_WHO = sa.text(
    "SELECT format('process %s of %s from %s (%s, its transaction began %s)', pid, usename, "
    "coalesce(host(client_addr), 'this machine'), state, xact_start) "
    "FROM pg_stat_activity WHERE pid = ANY(:pids) ORDER BY pid"
)


@contextmanager
def taken(url: str, tell: Tell) -> Iterator[sa.Connection]:
    """A connection of whoever migrates alone, across machines, until the block ends.

    Its statements raise OperationalError (LockNotAvailable) where a lock is not given in time.
    """
    milliseconds = int(LOCK_TIMEOUT.total_seconds() * 1000)
    options = f"-c lock_timeout={milliseconds} -c timezone=UTC"
    # Without a pool a connection that is closed is gone, and what it has locked with it.
    engine = sa.create_engine(
        url,
        poolclass=sa.NullPool,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": options,
            "application_name": "fanfare-migrate",
        },
    )
    with engine.connect() as conn:
        _take_turn(conn, tell)
        with _watched(engine, conn, tell):
            yield conn


def _take_turn(conn: sa.Connection, tell: Tell) -> None:
    """Ask again and again. Who waited inside a statement would keep a snapshot, for which an index
    that is built concurrently waits: two migrations would wait for each other."""
    told = False
    while not conn.scalar(_TRY, {"lock": LOCK}):
        if not told:
            migrating = conn.scalars(_MIGRATING, {"lock": LOCK}).all()
            tell(f"another migration is under way: waiting for {_who(conn, migrating)}")
            told = True
        conn.commit()
        time.sleep(NEXT_TURN_SECONDS)
    conn.commit()


@contextmanager
def _watched(engine: sa.Engine, conn: sa.Connection, tell: Tell) -> Iterator[None]:
    """Say for whom the connection waits, while it does: afterwards nobody can."""
    pid = conn.scalar(sa.text("SELECT pg_backend_pid()"))
    conn.commit()
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(engine, pid, tell, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(engine: sa.Engine, pid: int, tell: Tell, done: threading.Event) -> None:
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            told: set[int] = set()
            before: set[int] = set()
            while not done.wait(LOOK_SECONDS):
                blocking = set(conn.scalars(_BLOCKING, {"pid": pid}))
                # Whoever is there at one look only is on the way.
                if new := (blocking & before) - told:
                    tell(f"waiting for {_who(conn, new)}")
                told, before = told | new, blocking
    except SQLAlchemyError:
        # The migration needs no watch; what ails the server it finds out by itself.
        return


def _who(conn: sa.Connection, pids: Iterable[int]) -> str:
    """In words, as far as it can be told; 0 stands for a transaction that is prepared."""
    return ", ".join(conn.scalars(_WHO, {"pids": list(pids)})) or "one that cannot be seen"
