"""The table `idempotency_keys`: which request came with a key, and what was answered.

A claim is a row without an answer. One caller holds it, until its time is over. Its `claim_id` is
made once, and stays whoever takes the claim over: what a crashed request made can be found by it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from fanfare.db.tables import idempotency_keys
from fanfare.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from fanfare.models import ProjectCtx

KEPT_FOR = timedelta(days=30)
# A claim outlives every request: the longest is two statements of 30 s at most.
CLAIMED_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run the request of this key. `locked_until` tells it from a later claim.

    `is_takeover`: an earlier run of the same request ended without an answer, and may have made
    what has the id `claim_id`.
    """

    key: str
    claim_id: UUID
    locked_until: datetime
    is_takeover: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. `response` is sealed by whoever stored it."""

    status: int
    response: bytes


async def claim(
    conn: AsyncConnection, project: ProjectCtx, key: str, request_hash: bytes, fresh_id: UUID
) -> Claim | Answer:
    """Claim the key for a request, or return the answer that the same request had before.

    `fresh_id` becomes the claim's id, unless the claim of a run that crashed is taken over. Writes
    nothing where it does not claim. Raises IdempotencyKeyReused or IdempotencyKeyInUse.
    """
    if (answer := await _answer_of(conn, project, key, request_hash)) is not None:
        return answer
    claiming = _claiming(project, key, request_hash, fresh_id)
    row = (await conn.execute(claiming)).mappings().one_or_none()
    if row is None:
        raise _in_use()
    return Claim(key, row["claim_id"], row["locked_until"], row["claim_id"] != fresh_id)


async def store(conn: AsyncConnection, project: ProjectCtx, claimed: Claim, answer: Answer) -> None:
    """Keep the answer. Nothing happens where the claim was taken over meanwhile."""
    statement = sa.update(idempotency_keys).where(*_is(project, claimed))
    await conn.execute(statement.values(status=answer.status, response=answer.response))


async def release(conn: AsyncConnection, project: ProjectCtx, claimed: Claim) -> None:
    """Forget the claim, where its request surely made nothing. Any request may have the key."""
    await conn.execute(sa.delete(idempotency_keys).where(*_is(project, claimed)))


async def unlock(conn: AsyncConnection, project: ProjectCtx, claimed: Claim) -> None:
    """End the claim's time, where its request may have made something. The same request may take
    it over at once, and keeps its id."""
    statement = sa.update(idempotency_keys).where(*_is(project, claimed))
    await conn.execute(statement.values(locked_until=sa.func.now()))


async def delete_expired(conn: AsyncConnection) -> int:
    """Remove what is older than 30 days, in every project. For the tables' owner."""
    return (await conn.execute(sa.delete(idempotency_keys).where(_expired()))).rowcount


async def _answer_of(
    conn: AsyncConnection, project: ProjectCtx, key: str, request_hash: bytes
) -> Answer | None:
    """The answer that the request had. None: the key can be claimed, as far as can be seen now."""
    columns = idempotency_keys.c
    held = columns.status.is_(None) & (columns.locked_until >= sa.func.now())
    statement = sa.select(
        columns.request_hash, columns.status, columns.response, held.label("held")
    ).where(columns.project_id == project.project_id, columns.key == key, ~_expired())
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        return None
    if row["request_hash"] != request_hash:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another request.")
    if row["held"]:
        raise _in_use()
    return None if row["status"] is None else Answer(row["status"], row["response"])


def _claiming(
    project: ProjectCtx, key: str, request_hash: bytes, fresh_id: UUID
) -> ReturningInsert[tuple[UUID, datetime]]:
    columns = idempotency_keys.c
    fresh = {
        "request_hash": request_hash,
        "locked_until": sa.func.now() + CLAIMED_FOR,
        "status": None,
        "response": None,
        "created_at": sa.func.now(),
    }
    claim_id = sa.case((_expired(), fresh_id), else_=sa.func.coalesce(columns.claim_id, fresh_id))
    crashed = columns.status.is_(None) & (columns.locked_until < sa.func.now())
    return (
        insert(idempotency_keys)
        .values(project_id=project.project_id, key=key, claim_id=fresh_id, **fresh)
        .on_conflict_do_update(
            index_elements=["project_id", "key"],
            set_={**fresh, "claim_id": claim_id},
            where=(crashed & (columns.request_hash == request_hash)) | _expired(),
        )
        .returning(columns.claim_id, columns.locked_until)
    )


def _expired() -> sa.ColumnElement[bool]:
    return idempotency_keys.c.created_at < sa.func.now() - KEPT_FOR


def _in_use() -> IdempotencyKeyInUse:
    return IdempotencyKeyInUse("The first request with this Idempotency-Key has not ended.")


def _is(project: ProjectCtx, claimed: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        idempotency_keys.c.project_id == project.project_id,
        idempotency_keys.c.key == claimed.key,
        idempotency_keys.c.locked_until == claimed.locked_until,
        idempotency_keys.c.status.is_(None),
    )
