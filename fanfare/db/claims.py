"""Claims: which tokens an attempt may put on the wire now, committed before it does.

A claim succeeds only for the attempt whose epoch stands in the batch, and only while the campaign
is sending and not paused: stopping a campaign is one UPDATE of its row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.batches import BatchKey


class ClaimRefused(Exception):
    """The batch belongs to a later attempt, or its campaign is not sending now."""


@dataclass(frozen=True, slots=True)
class ClaimedToken:
    """A token of the audience as it is at the moment of the claim, not of the freeze.

    `token` is None where it is gone. `attempts` counts those before; `ambiguous` says that one of
    them may have been accepted; `owed` that there is a note of it.
    """

    token_id: int
    token: str | None
    is_active: bool
    deactivated_reason: str | None
    registered_at: datetime | None
    suspicions: int
    attempts: int = 0
    ambiguous: bool = False
    owed: bool = False


# A batch that may be claimed from; bound: project_id, campaign_id, number.
CLAIMABLE = """
    SELECT b.claimed FROM push_batches b
    JOIN push_campaigns c ON c.project_id = b.project_id AND c.id = b.campaign_id
    WHERE b.project_id = :project_id AND b.campaign_id = :campaign_id AND b.number = :number
      AND c.status = 'sending' AND c.paused_at IS NULL
"""

# One look-up by primary key per claimed token. OFFSET 0 keeps the planner from turning it into a
# join over all tokens of the project, which it prefers where it has no statistics yet.
DEVICE_BY_ID = """
    SELECT token, is_active, deactivated_reason, registered_at, suspicions FROM push_tokens
    WHERE project_id = :project_id AND id = taken.token_id OFFSET 0
"""

_CLAIM_NEXT = sa.text(
    f"""
    WITH claim AS (
        UPDATE push_batches b SET claimed = :upto FROM push_campaigns c
        WHERE b.project_id = :project_id AND b.campaign_id = :campaign_id AND b.number = :number
          AND b.epoch = :epoch AND b.claimed = :claimed
          AND c.project_id = b.project_id AND c.id = b.campaign_id
          AND c.status = 'sending' AND c.paused_at IS NULL
        RETURNING b.token_ids[cast(:claimed AS int) + 1:cast(:upto AS int)] AS token_ids
    )
    SELECT taken.token_id, 0 AS attempts, false AS ambiguous, false AS owed, t.token, t.is_active,
           t.deactivated_reason, t.registered_at, t.suspicions
    FROM claim CROSS JOIN unnest(claim.token_ids) AS taken(token_id)
    LEFT JOIN LATERAL ({DEVICE_BY_ID}) t ON true
    """  # noqa: S608 - a constant of ours
)


async def claim_next(
    conn: AsyncConnection, key: BatchKey, *, epoch: int, claimed: int, upto: int
) -> Sequence[ClaimedToken]:
    """Claim the batch's tokens from position `claimed` up to `upto`. Raises ClaimRefused."""
    values = {**key.values(), "epoch": epoch, "claimed": claimed, "upto": upto}
    rows = (await conn.execute(_CLAIM_NEXT, values)).mappings().all()
    if not rows:
        raise ClaimRefused(f"batch {key.number} of campaign {key.campaign_id}")
    return [claimed_token(row) for row in rows]


def claimed_token(row: sa.RowMapping) -> ClaimedToken:
    """A row of a claim as a value."""
    return ClaimedToken(
        token_id=row["token_id"],
        token=row["token"],
        is_active=bool(row["is_active"]),
        deactivated_reason=row["deactivated_reason"],
        registered_at=row["registered_at"],
        suspicions=row["suspicions"] or 0,
        attempts=row["attempts"],
        ambiguous=row["ambiguous"],
        owed=row["owed"],
    )
