"""Claims: which tokens an attempt may put on the wire now, committed before it does.

A claim succeeds only for the attempt whose epoch stands in the batch, and only while the campaign
is sending and not paused: stopping a campaign is one UPDATE of its row.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from fanfare.db.batches import BatchKey
from fanfare.db.ledger_pool import LedgerConnection


class ClaimRefused(Exception):
    """The batch belongs to a later attempt, or its campaign is not sending now."""


class ClaimedToken(NamedTuple):
    """A token of the audience as it is at the moment of the claim, not of the freeze.

    `token` is None where it is gone. `attempts` counts those before; `ambiguous` says that one of
    them may have been accepted; `owed` that there is a note of it.
    """

    token_id: int
    token: str | None
    is_active: bool | None
    deactivated_reason: str | None
    registered_at: datetime | None
    suspicions: int | None
    attempts: int = 0
    ambiguous: bool = False
    owed: bool = False


async def claim_next(
    conn: LedgerConnection, key: BatchKey, *, epoch: int, claimed: int, upto: int
) -> Sequence[ClaimedToken]:
    """Claim the batch's tokens from position `claimed` up to `upto`. Raises ClaimRefused."""
    values = {**key.values(), "epoch": epoch, "claimed": claimed, "upto": upto}
    rows = await (await conn.execute(_CLAIM_NEXT, values, prepare=True)).fetchall()
    if not rows:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")
    return [ClaimedToken(*row) for row in rows]


async def claim_due(
    conn: LedgerConnection, key: BatchKey, *, epoch: int, limit: int
) -> Sequence[ClaimedToken]:
    """Take up to `limit` owed messages that are due, marked as ambiguous from here on.

    Empty where none is due, and where the batch may not be claimed from any more.
    """
    values = {**key.values(), "epoch": epoch, "limit": limit}
    rows = await (await conn.execute(_CLAIM_DUE, values, prepare=True)).fetchall()
    return [ClaimedToken(*row) for row in rows]


async def hold(conn: LedgerConnection, key: BatchKey, *, epoch: int) -> None:
    """Keep the batch from being claimed by others until the transaction ends.

    Raises ClaimRefused where a claim would be refused.
    """
    if await (await conn.execute(_HOLD, {**key.values(), "epoch": epoch})).fetchone() is None:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")


# The tokens are looked up by one scan of the primary key; those that are gone are sought for only
# where fewer were found than claimed.
_CLAIM_NEXT = """
    WITH claim AS (
        UPDATE push_batches b SET claimed = %(upto)s FROM push_campaigns c
        WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
          AND b.number = %(number)s AND b.epoch = %(epoch)s AND b.claimed = %(claimed)s
          AND c.project_id = b.project_id AND c.id = b.campaign_id
          AND c.status = 'sending' AND c.paused_at IS NULL
        RETURNING b.token_ids[%(claimed)s::int + 1:%(upto)s::int] AS token_ids
    ),
    found AS MATERIALIZED (
        SELECT id, token, is_active, deactivated_reason, registered_at, suspicions
        FROM push_tokens
        WHERE project_id = %(project_id)s AND id = ANY ((SELECT token_ids FROM claim)::bigint[])
    )
    SELECT * FROM found
    UNION ALL
    SELECT gone.id, NULL, NULL, NULL, NULL, NULL
    FROM claim CROSS JOIN unnest(claim.token_ids) AS gone(id)
    WHERE (SELECT count(*) FROM found) < cardinality(claim.token_ids)
      AND gone.id NOT IN (SELECT id FROM found)
"""

_HOLD = """
    SELECT b.number FROM push_batches b
    JOIN push_campaigns c ON c.project_id = b.project_id AND c.id = b.campaign_id
    WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
      AND b.number = %(number)s AND b.epoch = %(epoch)s
      AND c.status = 'sending' AND c.paused_at IS NULL
    FOR UPDATE OF b
"""

# OFFSET 0 keeps the planner from joining with all tokens of the project, which it prefers where it
# has no statistics yet.
_CLAIM_DUE = f"""
    WITH ours AS ({_HOLD}),
    due AS (
        SELECT o.token_id, o.attempts, o.ambiguous FROM push_owed o, ours
        WHERE o.project_id = %(project_id)s AND o.campaign_id = %(campaign_id)s
          AND o.number = %(number)s AND o.due_at <= now()
        ORDER BY o.token_id LIMIT %(limit)s FOR UPDATE OF o
    ),
    marked AS (
        UPDATE push_owed o SET ambiguous = true FROM due
        WHERE o.project_id = %(project_id)s AND o.campaign_id = %(campaign_id)s
          AND o.number = %(number)s AND o.token_id = due.token_id
    )
    SELECT due.token_id, t.*, due.attempts, due.ambiguous, true
    FROM due LEFT JOIN LATERAL (
        SELECT token, is_active, deactivated_reason, registered_at, suspicions FROM push_tokens
        WHERE project_id = %(project_id)s AND id = due.token_id OFFSET 0) t ON true
"""  # noqa: S608 - a constant of ours
