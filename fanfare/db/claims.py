"""Claims: which tokens an attempt may put on the wire now, committed before it does.

A claim succeeds only for the attempt whose epoch stands in the batch, only while the campaign is
sending and not paused, and only while its bucket's window is open. It shares a lock on the
campaign's row: the UPDATE that stops a campaign waits for the claims under way, milliseconds, and
none is committed after it. Both come through a gate (`gates.close`), first come, first served:
PostgreSQL would let claims that overlap pass an UPDATE that waits, for as long as there are any.
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
    """Claim the batch's tokens from position `claimed` up to `upto`. Raises ClaimRefused.

    An attempt whose claim was not answered makes the same once more, whether or not it was
    committed: nobody else claims in its epoch.
    """
    values = {**key.values(), "epoch": epoch, "claimed": claimed, "upto": upto}
    rows = await (await conn.execute(_CLAIM_NEXT, values, prepare=True)).fetchall()
    if not rows:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")
    return [ClaimedToken(*row) for row in rows]


async def claim_due(
    conn: LedgerConnection, key: BatchKey, *, epoch: int, limit: int
) -> Sequence[ClaimedToken]:
    """Take up to `limit` owed messages that are due, marked as ambiguous from here on.

    Empty where none is due. Raises ClaimRefused.
    """
    values = {**key.values(), "epoch": epoch, "limit": limit}
    rows = await (await conn.execute(_CLAIM_DUE, values, prepare=True)).fetchall()
    if not rows:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")
    return [ClaimedToken(*row) for row in rows if row[0] is not None]


async def is_sending(conn: LedgerConnection, key: BatchKey) -> bool:
    """Whether the batch's campaign is sent now. For a second request about a claimed message."""
    return await (await conn.execute(_IS_SENDING, key.values())).fetchone() is not None


async def hold(conn: LedgerConnection, key: BatchKey, *, epoch: int) -> None:
    """Keep the batch from being claimed by others until the transaction ends.

    Raises ClaimRefused where a claim would be refused.
    """
    if await (await conn.execute(_HOLD, {**key.values(), "epoch": epoch})).fetchone() is None:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")


_SENDING = """
    SELECT project_id, id FROM push_campaigns
    WHERE project_id = %(project_id)s AND id = %(campaign_id)s
      AND status = 'sending' AND paused_at IS NULL
      AND (SELECT pg_advisory_xact_lock_shared(
          hashtextextended((%(campaign_id)s::uuid)::text, 1))) IS NOT NULL
    FOR SHARE
"""

# Of a batch `b`. Most campaigns have no row there.
_IS_OPEN = """
    NOT EXISTS (
        SELECT FROM push_buckets k
        WHERE k.project_id = b.project_id AND k.campaign_id = b.campaign_id
          AND k.number = b.bucket
          AND (now() < k.opens_at OR now() >= k.closes_at))
"""

_IS_SENDING = """
    SELECT 1 FROM push_campaigns
    WHERE project_id = %(project_id)s AND id = %(campaign_id)s
      AND status = 'sending' AND paused_at IS NULL
"""

# The tokens are looked up by one scan of the primary key; those that are gone are sought for only
# where fewer were found than claimed.
_CLAIM_NEXT = f"""
    WITH c AS MATERIALIZED ({_SENDING}),
    claim AS (
        UPDATE push_batches b SET claimed = %(upto)s FROM c
        WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
          AND b.number = %(number)s AND b.epoch = %(epoch)s AND b.claimed IN (%(claimed)s, %(upto)s)
          AND c.project_id = b.project_id AND c.id = b.campaign_id AND {_IS_OPEN}
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
"""  # noqa: S608 - constants of ours

_HOLD = f"""
    WITH c AS MATERIALIZED ({_SENDING})
    SELECT b.number FROM push_batches b
    JOIN c ON c.project_id = b.project_id AND c.id = b.campaign_id
    WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
      AND b.number = %(number)s AND b.epoch = %(epoch)s
    FOR UPDATE OF b
"""  # noqa: S608 - constants of ours

_HOLD_OPEN = _HOLD.replace("FOR UPDATE", f"AND {_IS_OPEN} FOR UPDATE")

# OFFSET 0 keeps the planner from joining with all tokens of the project, which it prefers where it
# has no statistics yet.
_CLAIM_DUE = f"""
    WITH ours AS ({_HOLD_OPEN}),
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
    FROM ours LEFT JOIN due ON true LEFT JOIN LATERAL (
        SELECT token, is_active, deactivated_reason, registered_at, suspicions FROM push_tokens
        WHERE project_id = %(project_id)s AND id = due.token_id OFFSET 0) t ON true
"""  # noqa: S608 - a constant of ours
