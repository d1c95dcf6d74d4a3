"""The table `push_owed`: messages that were claimed and are to be tried again, each when it is due.

A note with `ambiguous` set says that an attempt may have been accepted; the next one is flagged
as a possible duplicate. The mark is committed before each further attempt goes out, as the
claimed position is for the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.batches import BatchKey
from fanfare.db.claims import CLAIMABLE, DEVICE_BY_ID, ClaimedToken, claimed_token
from fanfare.db.tables import push_owed


@dataclass(frozen=True, slots=True)
class OwedNote:
    """One message that is to be tried again at `due_at`, after `attempts` that failed."""

    token_id: int
    due_at: datetime
    attempts: int
    ambiguous: bool


@dataclass(frozen=True, slots=True)
class Owing:
    """How many messages of a batch are owed, and when the first of them is due."""

    count: int
    next_due: datetime | None


async def note(conn: AsyncConnection, key: BatchKey, notes: Sequence[OwedNote]) -> None:
    """Write the notes, over what stood there for the same tokens."""
    rows = [
        {
            **key.values(),
            "token_id": owed.token_id,
            "due_at": owed.due_at,
            "attempts": owed.attempts,
            "ambiguous": owed.ambiguous,
        }
        for owed in notes
    ]
    statement = insert(push_owed)
    newer = {name: statement.excluded[name] for name in ("due_at", "attempts", "ambiguous")}
    keys = ["project_id", "campaign_id", "number", "token_id"]
    await conn.execute(statement.on_conflict_do_update(index_elements=keys, set_=newer), rows)


async def forget(conn: AsyncConnection, key: BatchKey, token_ids: Sequence[int]) -> None:
    """Drop the notes of messages whose outcome is final."""
    columns = push_owed.c
    wanted = columns.token_id == sa.any_(sa.literal(list(token_ids), sa.ARRAY(sa.BigInteger)))
    await conn.execute(sa.delete(push_owed).where(*key.matches(push_owed), wanted))


async def claim_due(
    conn: AsyncConnection, key: BatchKey, *, epoch: int, limit: int
) -> Sequence[ClaimedToken]:
    """Take up to `limit` messages that are due, marked as ambiguous from here on.

    Empty where none is due, and where the batch may not be claimed from any more.
    """
    values = {**key.values(), "epoch": epoch, "limit": limit}
    rows = (await conn.execute(_CLAIM_DUE, values)).mappings()
    return [claimed_token(row) for row in rows]


async def note_lost(conn: AsyncConnection, key: BatchKey, *, claimed: int) -> None:
    """Owe again what an attempt before this one claimed and of which nothing is known."""
    await conn.execute(_NOTE_LOST, {**key.values(), "claimed": claimed})


async def write_off_ambiguous(conn: AsyncConnection, key: BatchKey) -> int:
    """Make every ambiguous message of the batch final, as `unknown`. Returns how many there were.

    For campaigns that would rather miss someone than repeat: `on_unknown: "skip"`.
    """
    return (await conn.execute(_WRITE_OFF, key.values())).rowcount


async def owing(conn: AsyncConnection, key: BatchKey) -> Owing:
    """What the batch still owes."""
    statement = sa.select(sa.func.count(), sa.func.min(push_owed.c.due_at)).where(
        *key.matches(push_owed)
    )
    count, next_due = (await conn.execute(statement)).one()
    return Owing(count, next_due)


_CLAIM_DUE = sa.text(
    f"""
    WITH ours AS ({CLAIMABLE} AND b.epoch = :epoch FOR UPDATE OF b),
    due AS (
        SELECT o.token_id, o.attempts, o.ambiguous FROM push_owed o, ours
        WHERE o.project_id = :project_id AND o.campaign_id = :campaign_id
          AND o.number = :number AND o.due_at <= now()
        ORDER BY o.token_id LIMIT :limit FOR UPDATE OF o
    ),
    marked AS (
        UPDATE push_owed o SET ambiguous = true FROM due
        WHERE o.project_id = :project_id AND o.campaign_id = :campaign_id
          AND o.number = :number AND o.token_id = due.token_id
    )
    SELECT taken.token_id, taken.attempts, taken.ambiguous, true AS owed, t.token, t.is_active,
           t.deactivated_reason, t.registered_at, t.suspicions
    FROM due AS taken LEFT JOIN LATERAL ({DEVICE_BY_ID}) t ON true
    """  # noqa: S608 - two constants of ours
)

# OFFSET 0 for the same reason as in `claims.DEVICE_BY_ID`: a look-up per token, never a scan.
_NOTE_LOST = sa.text(
    """
    INSERT INTO push_owed (project_id, campaign_id, number, token_id, due_at, attempts, ambiguous)
    SELECT b.project_id, b.campaign_id, b.number, lost.token_id, now(), 1, true
    FROM push_batches b, unnest(b.token_ids[1:cast(:claimed AS int)]) AS lost(token_id)
    WHERE b.project_id = :project_id AND b.campaign_id = :campaign_id AND b.number = :number
      AND NOT EXISTS (
          SELECT FROM push_deliveries d WHERE d.project_id = b.project_id
            AND d.campaign_id = b.campaign_id AND d.token_id = lost.token_id OFFSET 0)
    ON CONFLICT DO NOTHING
    """
)

_WRITE_OFF = sa.text(
    """
    WITH gone AS (
        DELETE FROM push_owed
        WHERE project_id = :project_id AND campaign_id = :campaign_id AND number = :number
          AND ambiguous
        RETURNING token_id
    ),
    counted AS (
        UPDATE push_batches SET unknown = unknown + (SELECT count(*) FROM gone)
        WHERE project_id = :project_id AND campaign_id = :campaign_id AND number = :number
    )
    INSERT INTO push_deliveries (project_id, campaign_id, token_id, status, error_code, reason)
    SELECT :project_id, :campaign_id, token_id, 'unknown', 'no_answer', 'interrupted' FROM gone
    """
)
