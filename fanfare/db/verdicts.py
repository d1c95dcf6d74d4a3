"""What a campaign's outcomes say about the tokens themselves, written to `push_tokens`.

A provider's final word deactivates a token, unless the device registered again since. One
BadDeviceToken proves little (a wrong environment looks the same for all): a token that is called
bad by a second campaign, a day or more after the first, is believed to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fanfare.db.batches import BatchKey
from fanfare.db.ledger_pool import LedgerConnection
from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class DeadToken:
    """A token that the provider calls gone, and since when."""

    token_id: int
    since: datetime


async def deactivate(
    conn: LedgerConnection, project: ProjectCtx, dead: Sequence[DeadToken]
) -> None:
    """Deactivate each token whose device has not registered since."""
    values = {
        "project_id": project.project_id,
        "token_ids": [token.token_id for token in dead],
        "since": [token.since for token in dead],
    }
    await conn.execute(_DEACTIVATE, values)


async def suspect(conn: LedgerConnection, project: ProjectCtx, token_ids: Sequence[int]) -> None:
    """Mark tokens as suspect; deactivate those that were so at least a day ago."""
    await conn.execute(_SUSPECT, {"project_id": project.project_id, "token_ids": list(token_ids)})


async def clear(conn: LedgerConnection, project: ProjectCtx, token_ids: Sequence[int]) -> None:
    """Lift the suspicion from tokens that were accepted."""
    await conn.execute(_CLEAR, {"project_id": project.project_id, "token_ids": list(token_ids)})


async def move(conn: LedgerConnection, key: BatchKey, token_ids: Sequence[int]) -> None:
    """Remember tokens of a batch as the other environment's than its lane's. Twice is once."""
    await conn.execute(_MOVE, {**key.values(), "token_ids": list(token_ids)})


async def roll_back(conn: LedgerConnection, project: ProjectCtx, campaign_id: UUID) -> None:
    """Take back every suspicion that a campaign raised: it was its credential that was wrong.

    The messages are owed again, so that the campaign can be resumed, its canary first. A second
    run finds nothing left.
    """
    values = {"project_id": project.project_id, "campaign_id": campaign_id}
    await conn.execute(_ROLL_BACK, values)


_DEACTIVATE = """
    UPDATE push_tokens t SET is_active = false, deactivated_reason = 'unregistered'
    FROM unnest(%(token_ids)s::bigint[], %(since)s::timestamptz[]) AS dead(token_id, since)
    WHERE t.project_id = %(project_id)s AND t.id = dead.token_id
      AND t.is_active AND t.registered_at <= dead.since
"""

_SUSPECT = """
    UPDATE push_tokens SET
        suspicions = suspicions + 1,
        suspected_at = coalesce(suspected_at, now()),
        is_active = is_active AND (suspected_at IS NULL OR suspected_at > now() - interval '1 day'),
        deactivated_reason = CASE
            WHEN is_active AND suspected_at <= now() - interval '1 day' THEN 'bad_token'
            ELSE deactivated_reason END
    WHERE project_id = %(project_id)s AND id = ANY(%(token_ids)s::bigint[])
"""

_CLEAR = """
    UPDATE push_tokens SET suspicions = 0, suspected_at = NULL
    WHERE project_id = %(project_id)s AND id = ANY(%(token_ids)s::bigint[])
"""

_MOVE = """
    UPDATE push_tokens t SET
        environment = CASE b.lane WHEN 'apns' THEN 'sandbox' ELSE 'production' END
    FROM push_batches b
    WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
      AND b.number = %(number)s AND b.lane IN ('apns', 'apns-sandbox')
      AND t.project_id = b.project_id AND t.id = ANY(%(token_ids)s::bigint[])
"""

# A token that this campaign deactivated as bad was active when its audience was frozen.
_ROLL_BACK = """
    WITH taken_back AS (
        DELETE FROM push_deliveries d USING push_tokens t
        WHERE d.project_id = %(project_id)s AND d.campaign_id = %(campaign_id)s
          AND d.status = 'failed' AND d.error_code = 'invalid_token'
          AND t.project_id = d.project_id AND t.id = d.token_id AND t.suspicions > 0
          AND t.deactivated_reason IS DISTINCT FROM 'unregistered'
        RETURNING d.token_id
    ),
    places AS (
        SELECT b.number, member.token_id
        FROM push_batches b CROSS JOIN unnest(b.token_ids) AS member(token_id)
        JOIN taken_back USING (token_id)
        WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
    ),
    noted AS (
        INSERT INTO push_owed
            (project_id, campaign_id, number, token_id, due_at, attempts, ambiguous)
        SELECT %(project_id)s, %(campaign_id)s, number, token_id, now(), 0, false FROM places
        ON CONFLICT DO NOTHING
    ),
    counted AS (
        UPDATE push_batches b SET
            failed = b.failed - sums.failed, suspects = 0, completed_at = NULL
        FROM (SELECT number, count(*) AS failed FROM places GROUP BY number) AS sums
        WHERE b.project_id = %(project_id)s AND b.campaign_id = %(campaign_id)s
          AND b.number = sums.number
    )
    UPDATE push_tokens t SET
        suspicions = t.suspicions - 1,
        suspected_at = CASE WHEN t.suspicions > 1 THEN t.suspected_at END,
        is_active = t.is_active OR t.deactivated_reason = 'bad_token',
        deactivated_reason = nullif(t.deactivated_reason, 'bad_token')
    FROM taken_back
    WHERE t.project_id = %(project_id)s AND t.id = taken_back.token_id
"""
