"""Which database this is, and whether it was restored: before anything is claimed on it.

Two things tell. The row in `installation` says where it was written: a dump that was restored, a
recovery to a moment and a standby that was promoted are found to be elsewhere. And a position in
the WAL never comes back: a database that is behind one that was seen is an older copy.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import psycopg
import structlog
from psycopg.rows import TupleRow

from fanfare.db import restores
from fanfare.db.connections import BoundedConnection, answer_within
from fanfare.errors import DatabaseUnavailable

_Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

# Every open campaign is held at once: milliseconds for a batch, of which there may be many.
LONGEST = timedelta(minutes=10)

# How far positions move on when a database is taken for what it is: further than any position
# that was seen before, whoever remembers it. A tebibyte of WAL.
LEAP = 2**40

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """The database as it is found. `is_home`: the row was written here; `wal`: how many bytes of
    WAL are safe on disk; None on a standby."""

    is_home: bool
    base: int
    wal: int | None

    @property
    def position(self) -> int:
        """Grows with each commit; never comes twice, whatever is restored."""
        if self.wal is None:
            raise DatabaseUnavailable("PostgreSQL is a standby here, which takes no writes.")
        return self.base + self.wal

    def is_restored(self, seen: int) -> bool:
        """Whether it is an older copy of what had come to `seen`."""
        return not self.is_home or self.position < seen


class Guard:
    """Lets nobody claim on a restored database before its campaigns are held.

    Remembers the furthest position that it saw, or was told of.
    """

    def __init__(self) -> None:
        self._seen = 0

    @property
    def seen(self) -> int:
        """The furthest position so far."""
        return self._seen

    def remember(self, position: int) -> None:
        """Note how far the database had come, by somebody else's word."""
        self._seen = max(self._seen, position)

    async def check(self, conn: _Connection) -> None:
        """Return when it is safe to claim. Costs a statement where nothing was restored.

        Raises DatabaseUnavailable on a standby, and psycopg.Error.
        """
        found = await read(conn)
        if found.is_restored(self._seen):
            found = await self._hold(conn)
        self.remember(found.position)

    async def _hold(self, conn: _Connection) -> Found:
        """Whoever comes first holds the campaigns; the others find it done."""
        if isinstance(conn, BoundedConnection):
            conn.answer_within = answer_within(LONGEST)
        async with conn.transaction():
            await conn.execute(_SET_TIMEOUT, [f"{LONGEST.total_seconds():.0f}s"])
            await conn.execute(_LOCK)
            found = await read(conn)
            if not found.is_restored(self._seen):
                return found
            held = await restores.hold(conn)
            await conn.execute(_MOVE_IN, {"base": _beyond(found, self._seen), "is_restored": True})
        log.warning("database_restored", campaigns_held=held)
        return await read(conn)


async def read(conn: _Connection) -> Found:
    """What the database is."""
    row = await (await conn.execute(_READ)).fetchone()
    assert row is not None
    return Found(*row)


async def adopt(conn: _Connection) -> None:
    """Take the database for the true one, wherever it is now: nothing was lost."""
    async with conn.transaction():
        await conn.execute(_LOCK)
        found = await read(conn)
        await conn.execute(_MOVE_IN, {"base": _beyond(found, 0), "is_restored": False})


async def is_untold(conn: _Connection) -> bool:
    """Whether it was restored and not every workflow of a campaign has been told."""
    return await (await conn.execute(_IS_UNTOLD)).fetchone() is not None


async def note_told(conn: _Connection) -> None:
    """Every workflow of a campaign has been told."""
    await conn.execute(_NOTE_TOLD)


def _beyond(found: Found, seen: int) -> int:
    return found.base + max(0, seen - found.position) + LEAP


_SET_TIMEOUT = "SELECT set_config('statement_timeout', %s, true)"

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('installation', 0))"

# The control file names the timeline of the last checkpoint. After a promotion that is the old one
# for a while; until then the new one stands beside it.
_HERE = """
    SELECT s.system_identifier, greatest(c.timeline_id, r.min_recovery_end_timeline) AS timeline,
           d.oid::bigint AS database_oid
    FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r, pg_database d
    WHERE d.datname = current_database()
"""

_READ = f"""
    SELECT coalesce(i.system_identifier = here.system_identifier AND i.timeline = here.timeline
               AND i.database_oid = here.database_oid
               AND i.written_by = i.xmin::text::bigint, false),
           coalesce(i.position_base, 0),
           CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END
    FROM ({_HERE}) AS here LEFT JOIN installation i ON true
"""  # noqa: S608 - a constant of ours

_MOVE_IN = f"""
    INSERT INTO installation
        (system_identifier, timeline, database_oid, written_by, position_base, restored_at)
    SELECT system_identifier, timeline, database_oid, pg_current_xact_id()::xid::text::bigint,
           %(base)s, CASE WHEN %(is_restored)s THEN clock_timestamp() END
    FROM ({_HERE}) AS here
    ON CONFLICT (is_the_only) DO UPDATE SET
        system_identifier = excluded.system_identifier, timeline = excluded.timeline,
        database_oid = excluded.database_oid,
        written_by = excluded.written_by, position_base = excluded.position_base,
        restored_at = coalesce(excluded.restored_at, installation.restored_at),
        told_at = CASE WHEN excluded.restored_at IS NULL THEN installation.told_at END
"""  # noqa: S608 - a constant of ours

_IS_UNTOLD = "SELECT 1 FROM installation WHERE restored_at IS NOT NULL AND told_at IS NULL"

# Whoever changes the row has written it.
_NOTE_TOLD = """
    UPDATE installation
    SET told_at = clock_timestamp(), written_by = pg_current_xact_id()::xid::text::bigint
"""
