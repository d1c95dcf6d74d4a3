"""The table `idempotency_keys`: which request came with a key, and what was answered.

A claim is a row without an answer. One caller holds it, until its time is over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

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
    """The right to run the request of this key. `locked_until` tells it from a later claim."""

    key: str
    locked_until: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. `response` is sealed by whoever stored it."""

    status: int
    response: bytes


async def claim(
    conn: AsyncConnection, project: ProjectCtx, key: str, request_hash: bytes
) -> Claim | Answer:
    """Claim the key for a request, or return the answer that the same request had before.

    The claim of a request that crashed may be taken over when its time is over.
    Raises IdempotencyKeyReused or IdempotencyKeyInUse.
    """
    locked_until = (await conn.execute(_claiming(project, key, request_hash))).scalar_one_or_none()
    if locked_until is None:
        return await _earlier_answer(conn, project, key, request_hash)
    return Claim(key, locked_until)


async def store(conn: AsyncConnection, project: ProjectCtx, claimed: Claim, answer: Answer) -> None:
    """Keep the answer. Nothing happens where the claim was taken over meanwhile."""
    statement = sa.update(idempotency_keys).where(*_is(project, claimed))
    await conn.execute(statement.values(status=answer.status, response=answer.response))


async def release(conn: AsyncConnection, project: ProjectCtx, claimed: Claim) -> None:
    """Give the claim up, so that the same request may come again."""
    await conn.execute(sa.delete(idempotency_keys).where(*_is(project, claimed)))


async def delete_expired(conn: AsyncConnection) -> int:
    """Remove what is older than 30 days, in every project. For the tables' owner."""
    columns = idempotency_keys.c
    statement = sa.delete(idempotency_keys).where(columns.created_at < sa.func.now() - KEPT_FOR)
    return (await conn.execute(statement)).rowcount


def _claiming(project: ProjectCtx, key: str, request_hash: bytes) -> ReturningInsert[datetime]:
    columns = idempotency_keys.c
    fresh = {
        "request_hash": request_hash,
        "locked_until": sa.func.now() + CLAIMED_FOR,
        "status": None,
        "response": None,
        "created_at": sa.func.now(),
    }
    crashed = columns.status.is_(None) & (columns.locked_until < sa.func.now())
    expired = columns.created_at < sa.func.now() - KEPT_FOR
    return (
        insert(idempotency_keys)
        .values(project_id=project.project_id, key=key, **fresh)
        .on_conflict_do_update(
            index_elements=["project_id", "key"],
            set_=fresh,
            where=(crashed & (columns.request_hash == request_hash)) | expired,
        )
        .returning(columns.locked_until)
    )


async def _earlier_answer(
    conn: AsyncConnection, project: ProjectCtx, key: str, request_hash: bytes
) -> Answer:
    columns = idempotency_keys.c
    statement = sa.select(columns.request_hash, columns.status, columns.response).where(
        columns.project_id == project.project_id, columns.key == key
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None or (row["request_hash"] == request_hash and row["status"] is None):
        raise IdempotencyKeyInUse("The first request with this Idempotency-Key has not ended.")
    if row["request_hash"] != request_hash:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another request.")
    return Answer(row["status"], row["response"])


def _is(project: ProjectCtx, claimed: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        idempotency_keys.c.project_id == project.project_id,
        idempotency_keys.c.key == claimed.key,
        idempotency_keys.c.locked_until == claimed.locked_until,
        idempotency_keys.c.status.is_(None),
    )
