"""The table `credential_paces`: one credential's rate, as all workers share it.

Times are the callers': workers' clocks are to agree within a second or so. Every function raises
CredentialNotFound where the credential was replaced or deleted.
"""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

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
