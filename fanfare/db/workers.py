"""The table `workers`: who works, as each says of itself every few seconds. Of no project.

Moments are the database's, so that workers' clocks do not matter.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.timings import Row
from fanfare.degradation import SILENCE, Crew, Trouble

# How long one that is not heard of any more can be looked up.
KEEP = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker says of itself.

    `name`: what Temporal's web UI calls it. `revision`: the newest migration that its code knows.
    """

    id: UUID
    name: str
    revision: str
    trouble: Trouble | None = None


async def note(conn: LedgerConnection, beat: Beat) -> None:
    """Note that it lives. One statement, by key."""
    values = {
        "id": beat.id,
        "name": beat.name,
        "revision": beat.revision,
        "trouble": beat.trouble,
    }
    await conn.execute(_NOTE, values, prepare=True)


async def leave(conn: LedgerConnection, worker_id: UUID) -> None:
    """Take out one that ends in order."""
    await conn.execute("DELETE FROM workers WHERE id = %s", [worker_id])


async def forget_old(conn: AsyncConnection) -> None:
    """Drop those that were not heard of for an hour."""
    await conn.execute(sa.text("DELETE FROM workers WHERE beat_at < now() - :keep"), {"keep": KEEP})


async def crew(conn: AsyncConnection) -> Crew:
    """All of them together. One statement over a few rows."""
    return crew_of((await conn.execute(sa.text(CREW))).mappings().one())


def crew_of(row: Row) -> Crew:
    """The crew in a row that has the columns of `CREW` by their names."""
    trouble: str | None = row["trouble"]
    heard_at: datetime | None = row["heard_at"]
    return Crew(
        live=row["live"],
        well=row["well"],
        heard_at=heard_at,
        trouble=None if trouble is None else Trouble(trouble),
        trouble_since=row["trouble_since"],
        is_read_only=row["is_read_only"],
    )


_NOTE = """
    INSERT INTO workers (id, name, revision, trouble, trouble_since)
    VALUES (%(id)s, %(name)s, %(revision)s, %(trouble)s,
        CASE WHEN %(trouble)s::text IS NOT NULL THEN now() END)
    ON CONFLICT (id) DO UPDATE SET beat_at = now(), trouble = EXCLUDED.trouble,
        trouble_since = CASE WHEN EXCLUDED.trouble IS NOT NULL
            THEN coalesce(workers.trouble_since, now()) END
"""

_IS_LIVE = f"beat_at > now() - interval '{int(SILENCE.total_seconds())} seconds'"
# A trouble that newer code knows and this one does not is not counted as one.
_TROUBLES = ", ".join(f"'{each}'" for each in Trouble)
_IS_TROUBLED = f"trouble IN ({_TROUBLES})"

# For a question about more; a condition may follow it.
CREW = f"""
    SELECT max(beat_at) AS heard_at,
        count(*) FILTER (WHERE {_IS_LIVE}) AS live,
        count(*) FILTER (WHERE {_IS_LIVE} AND ({_IS_TROUBLED}) IS NOT TRUE) AS well,
        min(trouble) FILTER (WHERE {_IS_LIVE} AND {_IS_TROUBLED}) AS trouble,
        max(trouble_since) FILTER (WHERE {_IS_LIVE} AND {_IS_TROUBLED}) AS trouble_since,
        current_setting('default_transaction_read_only')::bool
            OR pg_is_in_recovery() AS is_read_only
    FROM workers
"""  # noqa: S608 - constants alone
