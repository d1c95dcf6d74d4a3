"""Holding what a restored database might send again.

What went out between the backup and the restore is not in this ledger. So whatever was not final
is in doubt: open batches count as claimed to their end, which makes them flagged repeats, or
`unknown` where the campaign would rather skip; and campaigns rest until an operator has decided.
"""

import psycopg
import sqlalchemy as sa
from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import gates
from fanfare.entities import Campaign

# Further than a revision or an epoch can have come in the time that was lost: what still lives of
# it must take no number of today for its own.
LEAP = 1_000


async def hold(conn: psycopg.AsyncConnection[TupleRow]) -> int:
    """Pause every campaign that may have sent since the backup, with all that it had not finished
    in doubt. Returns how many rest.

    In a transaction of the caller: claims wait for its end, and are refused. Campaigns that are
    due later than now rest not, nor do drafts; a failed one is in doubt where it is sent again, a
    cancelled one ends with `unknown` where it would have with `skipped`.
    """
    await conn.execute(_CLOSE_GATES)
    # Not the transaction's own time, which may lie before the last claim.
    row = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    now = {"now": row[0]}
    campaigns = await (await conn.execute(_HOLD, now)).fetchall()
    await conn.execute(_SUPERSEDE, now)
    await conn.execute(_DOUBT_BATCHES, now)
    await conn.execute(_DOUBT_NOTES, now)
    return sum(is_held for (is_held,) in campaigns)


async def hold_scheduled(conn: AsyncConnection, campaign: Campaign) -> None:
    """Pause a campaign that is due later, because it was begun in the time that was lost."""
    await gates.close(conn, campaign.id)
    await conn.execute(
        _HOLD_SCHEDULED, {"project_id": campaign.project_id, "campaign_id": campaign.id}
    )


async def doubt_frozen(conn: AsyncConnection, campaign: Campaign) -> None:
    """Have what was just frozen of the campaign in doubt, where it is. The caller has its row.

    A part of the audience whose turn comes after the restore has had nothing yet.
    """
    await conn.execute(
        _DOUBT_CAMPAIGN, {"project_id": campaign.project_id, "campaign_id": campaign.id}
    )


_CLOSE_GATES = """
    SELECT pg_advisory_xact_lock(hashtextextended(id::text, 1))
    FROM (SELECT id FROM push_campaigns WHERE status = 'sending' ORDER BY id) AS sending
"""

# In local time the first zone is 14 hours ahead of UTC.
_IS_IN_DOUBT = """
    (status <> 'scheduled' OR %(now)s >= CASE delivery_mode
        WHEN 'local_time' THEN (local_date + local_time) AT TIME ZONE 'UTC' - interval '14 hours'
        ELSE scheduled_at END)
"""

_HOLD = f"""
    UPDATE push_campaigns SET
        in_doubt_since = CASE WHEN {_IS_IN_DOUBT} THEN %(now)s ELSE in_doubt_since END,
        paused_at = CASE WHEN status IN ('scheduled', 'sending') AND {_IS_IN_DOUBT}
                    THEN %(now)s ELSE paused_at END,
        revision = revision + {LEAP}, updated_at = %(now)s
    WHERE status IN ('scheduled', 'sending', 'failed')
       OR (status = 'cancelled' AND settled_at IS NULL)
    RETURNING paused_at IS NOT NULL AND paused_at = %(now)s
"""  # noqa: S608 - constants of ours

_HOLD_SCHEDULED = sa.text(
    """
    UPDATE push_campaigns
    SET in_doubt_since = now(), paused_at = now(), revision = revision + 1, updated_at = now()
    WHERE project_id = :project_id AND id = :campaign_id AND status = 'scheduled'
    """
)

_IS_DOUBTED = """
    b.project_id = c.project_id AND b.campaign_id = c.id AND b.completed_at IS NULL
    AND NOT EXISTS (
        SELECT FROM push_buckets k
        WHERE k.project_id = b.project_id AND k.campaign_id = b.campaign_id
          AND k.number = b.bucket AND k.fires_at > c.in_doubt_since)
"""

_SUPERSEDE = f"""
    UPDATE push_batches b SET epoch = b.epoch + {LEAP} FROM push_campaigns c
    WHERE c.in_doubt_since = %(now)s AND {_IS_DOUBTED}
"""  # noqa: S608 - constants of ours

_DOUBT_BATCHES = f"""
    UPDATE push_batches b SET claimed = cardinality(b.token_ids) FROM push_campaigns c
    WHERE c.in_doubt_since = %(now)s AND {_IS_DOUBTED} AND b.claimed < cardinality(b.token_ids)
"""  # noqa: S608 - constants of ours

_DOUBT_CAMPAIGN = sa.text(
    f"""
    UPDATE push_batches b SET claimed = cardinality(b.token_ids) FROM push_campaigns c
    WHERE c.project_id = :project_id AND c.id = :campaign_id AND c.in_doubt_since IS NOT NULL
      AND {_IS_DOUBTED} AND b.claimed < cardinality(b.token_ids)
    """  # noqa: S608 - constants of ours
)

_DOUBT_NOTES = """
    UPDATE push_owed o SET ambiguous = true FROM push_campaigns c
    WHERE c.in_doubt_since = %(now)s AND o.project_id = c.project_id AND o.campaign_id = c.id
      AND NOT o.ambiguous
"""
