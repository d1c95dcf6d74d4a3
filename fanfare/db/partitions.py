"""Monthly partitions of the ledger, by the month in which a campaign was created.

Campaign ids are UUIDv7, so a range of time is a range of ids. Retention is a DROP of a partition;
what falls outside every month lands in the default partition and is as safe there.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.ids import first_id_at

MONTHS_AHEAD = 2


async def ensure(conn: AsyncConnection, now: datetime) -> None:
    """Have a partition for this month and the next two.

    Making one takes a lock that every write to the ledger waits for; where it cannot be had at
    once, as while somebody reads all of it, the next run tries again.
    """
    await conn.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
    first = datetime(now.year, now.month, 1, tzinfo=UTC)
    for _ in range(1 + MONTHS_AHEAD):
        following = _next_month(first)
        await _ensure_month(conn, first, following)
        first = following


async def _ensure_month(conn: AsyncConnection, first: datetime, following: datetime) -> None:
    name = f"push_deliveries_{first:%Y_%m}"
    known = await conn.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name})
    if known is not None or await _is_taken(conn, first, following):
        return
    bounds = f"FROM ('{first_id_at(first)}') TO ('{first_id_at(following)}')"
    await conn.execute(
        sa.text(f"CREATE TABLE {name} PARTITION OF push_deliveries FOR VALUES {bounds}")
    )


async def _is_taken(conn: AsyncConnection, first: datetime, following: datetime) -> bool:
    """Whether the default partition already holds rows of that month: then they stay there."""
    query = sa.text(
        """
        SELECT EXISTS (SELECT FROM push_deliveries_rest
                       WHERE campaign_id >= :first AND campaign_id < :following)
        """
    )
    bounds = {"first": first_id_at(first), "following": first_id_at(following)}
    return bool(await conn.scalar(query, bounds))


def _next_month(first: datetime) -> datetime:
    years, month = divmod(first.month, 12)
    return first.replace(year=first.year + years, month=month + 1)
