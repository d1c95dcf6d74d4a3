"""The table `rate_paces`: the rates of campaigns and projects, as all workers share them.

The limits themselves stand in `push_campaigns` and `projects`, and are read with every reservation.
Times are the callers': workers' clocks are to agree within a second. Everything here raises
ClaimRefused where the campaign is not sending now.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare import pacing
from fanfare import rates as rules
from fanfare.db.claims import ClaimRefused
from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.tables import rate_paces
from fanfare.models import ProjectCtx
from fanfare.pacing import RateState
from fanfare.rates import Rate, RateLimits, Reservation, limits_of

# What nobody used for so long says nothing that a new one would not: it rises anew all the same.
FORGET_AFTER = timedelta(hours=1)


class Taken(NamedTuple):
    """What was reserved, of which limits. Where these are none, nothing needs to be reserved."""

    limits: RateLimits
    reservation: Reservation


class _Subject(NamedTuple):
    """A campaign or its project: its limit, and its pace where it has one."""

    id: UUID
    rate_limit: int | None
    pace: RateState | None


async def limits(conn: LedgerConnection, project: ProjectCtx, campaign_id: UUID) -> RateLimits:
    """The limits as they are now. One look-up by key."""
    key = _key(project, campaign_id)
    row = await (await conn.execute(_LIMITS, key, prepare=True)).fetchone()
    if row is None:
        raise _not_sending(campaign_id)
    return RateLimits(*row)


async def take(
    conn: LedgerConnection,
    project: ProjectCtx,
    campaign_id: UUID,
    count: int,
    *,
    clock: Callable[[], datetime],
) -> Taken:
    """Reserve `count` messages, or fewer, of every limit that is set; see `rates.reserve`.

    Two or three statements under row locks, the campaign's before the project's: keep the
    transaction short, and alone. The clock is read once they are locked, which may take a while.
    The first call for a rate reserves nothing: ask again.
    """
    found = await _lock(conn, project, campaign_id)
    now = clock()
    standing = RateLimits(*(subject.rate_limit for subject in found))
    limited = [subject for subject in found if subject.rate_limit is not None]
    if not limited:
        return Taken(standing, Reservation(0, now))
    if new := [subject.id for subject in limited if subject.pace is None]:
        # To lock them now would be to lock them in another order than others do.
        await _begin(conn, project, new, now)
        return Taken(standing, Reservation(0, now))
    states, reservation = rules.reserve([_rate(subject) for subject in limited], now, count)
    if reservation.count:
        for subject, state in zip(limited, states, strict=True):
            await conn.execute(_STORE, _values(project, subject.id, state), prepare=True)
    return Taken(standing, reservation)


async def forget_old(conn: AsyncConnection) -> None:
    """Delete what was not used for an hour, of all projects. Scans a table of a few rows."""
    before = sa.func.now() - FORGET_AFTER
    await conn.execute(sa.delete(rate_paces).where(rate_paces.c.updated_at < before))


async def _lock(
    conn: LedgerConnection, project: ProjectCtx, campaign_id: UUID
) -> tuple[_Subject, _Subject]:
    """The campaign and the project, with the paces of those that are limited, locked."""
    rows = await conn.execute(_LOCK, _key(project, campaign_id), prepare=True)
    found = [
        _Subject(subject_id, rate_limit, None if pace[0] is None else RateState(*pace))
        async for subject_id, rate_limit, *pace in rows
    ]
    if len(found) != 2:
        raise _not_sending(campaign_id)
    return found[0], found[1]


async def _begin(
    conn: LedgerConnection, project: ProjectCtx, subjects: Sequence[UUID], now: datetime
) -> None:
    for subject_id in subjects:
        await conn.execute(_BEGIN, _values(project, subject_id, pacing.begin(now)))


def _rate(subject: _Subject) -> Rate:
    assert subject.rate_limit is not None
    assert subject.pace is not None
    return Rate(limits_of(subject.rate_limit), subject.pace)


def _key(project: ProjectCtx, campaign_id: UUID) -> dict[str, object]:
    return {"project_id": project.project_id, "campaign_id": campaign_id}


def _values(project: ProjectCtx, subject_id: UUID, state: RateState) -> dict[str, object]:
    return {"project_id": project.project_id, "subject_id": subject_id, **asdict(state)}


def _not_sending(campaign_id: UUID) -> ClaimRefused:
    return ClaimRefused(f"campaign {campaign_id} is not sending")


_SENDING = """
    c.project_id = %(project_id)s AND c.id = %(campaign_id)s
    AND c.status = 'sending' AND c.paused_at IS NULL
"""

_LIMITS = f"""
    SELECT c.rate_limit, p.rate_limit
    FROM push_campaigns c JOIN projects p ON p.id = c.project_id
    WHERE {_SENDING}
"""  # noqa: S608 - a constant of ours

# Rows are locked in the order in which the subquery sorts them. A limit that changes while this
# waits for a lock is seen by the next reservation.
_LOCK = f"""
    WITH subjects AS MATERIALIZED (
        SELECT c.id AS subject_id, c.rate_limit, 0 AS place FROM push_campaigns c WHERE {_SENDING}
        UNION ALL
        SELECT p.id, p.rate_limit, 1 FROM projects p WHERE p.id = %(project_id)s
    ),
    locked AS MATERIALIZED (
        SELECT r.* FROM rate_paces r JOIN subjects s ON s.subject_id = r.subject_id
        WHERE r.project_id = %(project_id)s AND s.rate_limit IS NOT NULL
        ORDER BY s.place FOR UPDATE OF r
    )
    SELECT s.subject_id, s.rate_limit, l.next_at, l.ramp_from, l.factor, l.held_until
    FROM subjects s LEFT JOIN locked l ON l.subject_id = s.subject_id
    ORDER BY s.place
"""  # noqa: S608 - a constant of ours

_BEGIN = """
    INSERT INTO rate_paces (project_id, subject_id, next_at, ramp_from, factor, held_until)
    VALUES (%(project_id)s, %(subject_id)s, %(next_at)s, %(ramp_from)s, %(factor)s, %(held_until)s)
    ON CONFLICT DO NOTHING
"""

_STORE = """
    UPDATE rate_paces SET next_at = %(next_at)s, ramp_from = %(ramp_from)s,
        factor = %(factor)s, held_until = %(held_until)s, updated_at = now()
    WHERE project_id = %(project_id)s AND subject_id = %(subject_id)s
"""
