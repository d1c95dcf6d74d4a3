"""The table `credential_paces`: one credential's rate, as all workers share it.

Times are the callers': workers' clocks are to agree within a second or so. What takes a credential
raises CredentialNotFound where it was replaced or deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare import pacing
from fanfare.db.ledger_pool import LedgerConnection
from fanfare.entities import Limits
from fanfare.errors import CredentialNotFound
from fanfare.models import ProjectCtx
from fanfare.pacing import RateState


async def take(
    conn: LedgerConnection,
    project: ProjectCtx,
    credential_id: UUID,
    limits: Limits,
    count: int,
    *,
    now: datetime,
) -> datetime:
    """Reserve `count` messages of the shared rate. Returns the moment from which they may go.

    Two statements under a row lock: keep the transaction short. At most `pacing.most_at_once`.
    """
    state = await _locked(conn, project, credential_id, now)
    state, not_before = pacing.admit(state, limits, now, count)
    await _store(conn, project, credential_id, state)
    return not_before


async def hold(
    conn: LedgerConnection,
    project: ProjectCtx,
    credential_id: UUID,
    until: datetime,
    *,
    now: datetime,
    halve: bool,
) -> datetime:
    """Let nothing go out before `until`; the longest hold wins. Returns the one that stands.

    `halve`: go on at half the rate after it, unless a hold stands already.
    """
    state = await _locked(conn, project, credential_id, now)
    state = pacing.hold(state, now, until, halve=halve)
    await _store(conn, project, credential_id, state)
    return state.held_until


async def held_until(
    conn: LedgerConnection, project: ProjectCtx, credential_id: UUID
) -> datetime | None:
    """Until when nothing may go out, None where it was never held. One look-up by key."""
    key = _key(project, credential_id)
    row = await (await conn.execute(_HELD_UNTIL, key, prepare=True)).fetchone()
    if row is None:
        raise _gone(credential_id)
    found: datetime | None = row[0]
    return found


async def holds(
    conn: AsyncConnection, project: ProjectCtx, campaign_ids: Sequence[UUID]
) -> Mapping[UUID, datetime]:
    """Until when throttles hold campaigns that are being sent; those that none holds are not in it.

    Of several throttles the last to end counts. A lane that is through is not held any more.
    """
    values = {"project": project.project_id, "campaigns": list(campaign_ids)}
    return {campaign: until for campaign, until in await conn.execute(_HOLDS, values) if until}


async def _locked(
    conn: LedgerConnection, project: ProjectCtx, credential_id: UUID, now: datetime
) -> RateState:
    key = _key(project, credential_id)
    row = await (await conn.execute(_LOCK, key, prepare=True)).fetchone()
    if row is None:
        await conn.execute(_BEGIN, {**key, **asdict(pacing.begin(now))})
        row = await (await conn.execute(_LOCK, key, prepare=True)).fetchone()
    if row is None:
        raise _gone(credential_id)
    return RateState(*row)


async def _store(
    conn: LedgerConnection, project: ProjectCtx, credential_id: UUID, state: RateState
) -> None:
    await conn.execute(_STORE, {**_key(project, credential_id), **asdict(state)}, prepare=True)


def _key(project: ProjectCtx, credential_id: UUID) -> dict[str, object]:
    return {"project_id": project.project_id, "credential_id": credential_id}


def _gone(credential_id: UUID) -> CredentialNotFound:
    return CredentialNotFound(f"There is no credential {credential_id} any more.")


_LOCK = """
    SELECT next_at, ramp_from, factor, held_until FROM credential_paces
    WHERE project_id = %(project_id)s AND credential_id = %(credential_id)s
    FOR UPDATE
"""

_BEGIN = """
    INSERT INTO credential_paces
        (project_id, credential_id, next_at, ramp_from, factor, held_until)
    SELECT project_id, id, %(next_at)s, %(ramp_from)s, %(factor)s, %(held_until)s
    FROM credentials WHERE project_id = %(project_id)s AND id = %(credential_id)s FOR KEY SHARE
    ON CONFLICT DO NOTHING
"""

_STORE = """
    UPDATE credential_paces SET next_at = %(next_at)s, ramp_from = %(ramp_from)s,
        factor = %(factor)s, held_until = %(held_until)s, updated_at = now()
    WHERE project_id = %(project_id)s AND credential_id = %(credential_id)s
"""

_HELD_UNTIL = """
    SELECT p.held_until FROM credentials c
    LEFT JOIN credential_paces p ON p.project_id = c.project_id AND p.credential_id = c.id
    WHERE c.project_id = %(project_id)s AND c.id = %(credential_id)s
"""

# Of one campaign `c`, for a question about more of it. Lanes are named as `models.Lane` does.
_LANE = """
    CASE
        WHEN k.provider = 'fcm' THEN 'fcm'
        WHEN k.environment = 'sandbox' THEN 'apns-sandbox'
        ELSE 'apns' END
"""
_HOLDING = """
    credential_paces p JOIN credentials k
        ON k.project_id = p.project_id AND k.id = p.credential_id
    WHERE p.project_id = c.project_id AND p.held_until > now()
        AND c.status = 'sending' AND c.paused_at IS NULL
"""
_UNFINISHED = """
    push_batches b
    WHERE b.project_id = c.project_id AND b.campaign_id = c.id AND b.completed_at IS NULL
"""
HELD = f"""
    SELECT max(p.held_until) FROM {_HOLDING}
        AND EXISTS (SELECT FROM {_UNFINISHED} AND b.lane = {_LANE})
"""  # noqa: S608 - constants alone

# When the last of the throttles was told of, where they hold every lane that has work left.
WHOLLY_HELD = f"""
    SELECT CASE WHEN EXISTS (SELECT FROM {_UNFINISHED})
        AND NOT EXISTS (SELECT FROM {_UNFINISHED} AND b.lane <> ALL (array_agg({_LANE})))
        THEN max(p.updated_at) END
    FROM {_HOLDING}
    HAVING count(*) > 0
"""  # noqa: S608 - constants alone

_HOLDS = sa.text(
    f"""
    SELECT c.id, ({HELD}) FROM push_campaigns c
    WHERE c.project_id = :project AND c.id = ANY(:campaigns) AND c.status = 'sending'
    """  # noqa: S608 - constants alone
).bindparams(sa.bindparam("campaigns", type_=ARRAY(sa.UUID)))
