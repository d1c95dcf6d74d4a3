"""The table `push_owed`: messages that were claimed and are to be tried again, each when it is due.

A note with `ambiguous` set says that an attempt may have been accepted; the next one is flagged
as a possible duplicate. The mark is committed before each further attempt goes out, as the
claimed position is for the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fanfare.db.batches import BatchKey
from fanfare.db.ledger_pool import LedgerConnection


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


async def note(
    conn: LedgerConnection, key: BatchKey, epoch: int, notes: Sequence[OwedNote]
) -> None:
    """Write the notes, over what stood there for the same tokens.

    Nothing is written for an attempt that was superseded: the later one knows of these messages
    that they were claimed, and treats them as ambiguous.
    """
    values = {
        **key.values(),
        "epoch": epoch,
        "token_ids": [owed.token_id for owed in notes],
        "due_at": [owed.due_at for owed in notes],
        "attempts": [owed.attempts for owed in notes],
        "ambiguous": [owed.ambiguous for owed in notes],
    }
    await conn.execute(_NOTE, values)


async def forget(conn: LedgerConnection, key: BatchKey, token_ids: Sequence[int]) -> None:
    """Drop the notes of messages whose outcome is final."""
    await conn.execute(_FORGET, {**key.values(), "token_ids": list(token_ids)})


async def note_lost(conn: LedgerConnection, key: BatchKey, *, claimed: int) -> None:
    """Owe again what an attempt before this one claimed and of which nothing is known.

    And drop the notes of what that attempt, superseded, recorded after all.
    """
    await conn.execute(_NOTE_LOST, {**key.values(), "claimed": claimed})
    await conn.execute(_FORGET_FINAL, key.values())


async def write_off_ambiguous(conn: LedgerConnection, key: BatchKey) -> None:
    """Make every ambiguous message of the batch final, as `unknown`.

    For campaigns that would rather miss someone than repeat: `on_unknown: "skip"`.
    """
    await conn.execute(_WRITE_OFF, key.values())


async def owing(conn: LedgerConnection, key: BatchKey) -> Owing:
    """What the batch still owes."""
    row = await (await conn.execute(_OWING, key.values())).fetchone()
    assert row is not None
    return Owing(*row)


_NOTE = """
    INSERT INTO push_owed (project_id, campaign_id, number, token_id, due_at, attempts, ambiguous)
    SELECT %(project_id)s, %(campaign_id)s, %(number)s, owed.*
    FROM unnest(%(token_ids)s::bigint[], %(due_at)s::timestamptz[], %(attempts)s::int[],
                %(ambiguous)s::boolean[]) AS owed
    WHERE EXISTS (
        SELECT FROM push_batches WHERE project_id = %(project_id)s
          AND campaign_id = %(campaign_id)s AND number = %(number)s AND epoch = %(epoch)s
        FOR UPDATE)
    ON CONFLICT (project_id, campaign_id, number, token_id) DO UPDATE SET
        due_at = excluded.due_at, attempts = excluded.attempts, ambiguous = excluded.ambiguous
"""

_FORGET = """
    DELETE FROM push_owed
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
      AND token_id = ANY(%(token_ids)s::bigint[])
"""

# OFFSET 0: a look-up per token by the primary key, whatever the statistics say.
_NOTE_LOST = """
    INSERT INTO push_owed (project_id, campaign_id, number, token_id, due_at, attempts, ambiguous)
    SELECT b.project_id, b.campaign_id, b.number, lost.token_id, now(), 1, true
    FROM push_batches b, unnest(b.token_ids[1:%(claimed)s::int]) AS lost(token_id)
    WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
      AND b.number = %(number)s
      AND NOT EXISTS (
          SELECT FROM push_deliveries d WHERE d.project_id = b.project_id
            AND d.campaign_id = b.campaign_id AND d.token_id = lost.token_id OFFSET 0)
    ON CONFLICT DO NOTHING
"""

_FORGET_FINAL = """
    DELETE FROM push_owed o
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
      AND EXISTS (
          SELECT FROM push_deliveries d WHERE d.project_id = o.project_id
            AND d.campaign_id = o.campaign_id AND d.token_id = o.token_id)
"""

_WRITE_OFF = """
    WITH gone AS (
        DELETE FROM push_owed
        WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s
          AND number = %(number)s AND ambiguous
        RETURNING token_id
    ),
    written AS (
        INSERT INTO push_deliveries (project_id, campaign_id, token_id, status, error_code, reason)
        SELECT %(project_id)s, %(campaign_id)s, token_id, 'unknown', 'no_answer', 'interrupted'
        FROM gone
        ON CONFLICT DO NOTHING
        RETURNING token_id
    )
    UPDATE push_batches SET unknown = unknown + (SELECT count(*) FROM written)
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
"""

_OWING = """
    SELECT count(*), min(due_at) FROM push_owed
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
"""
