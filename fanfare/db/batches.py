"""The table `push_batches`: how far each batch of a frozen audience has come, and its counts.

A batch belongs to the attempt whose epoch stands in it; only that attempt may claim of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.tables import push_batches, push_campaigns
from fanfare.entities import Batch, Campaign, Stats
from fanfare.models import Lane, ProjectCtx


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Which batch: a campaign's, by number."""

    project: ProjectCtx
    campaign_id: UUID
    number: int

    def values(self) -> dict[str, object]:
        """The key as column values."""
        return {
            "project_id": self.project.project_id,
            "campaign_id": self.campaign_id,
            "number": self.number,
        }


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How far a batch is. Suspects are among the failed."""

    size: int
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    suspects: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every token of the batch is final."""
        return self.sent + self.failed + self.skipped + self.unknown == self.size


@dataclass(frozen=True, slots=True)
class Counts:
    """Outcomes that are added to a batch's counts in one go."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    repeats: int = 0
    suspects: int = 0
    skipped_by: Mapping[str, int] = field(default_factory=dict)

    def values(self) -> dict[str, object]:
        """As parameters of the statement that adds them."""
        return {
            "sent": self.sent,
            "failed": self.failed,
            "skipped": self.skipped,
            "unknown": self.unknown,
            "repeats": self.repeats,
            "suspects": self.suspects,
            "skipped_by": orjson.dumps(self.skipped_by).decode(),
        }


async def take(conn: LedgerConnection, key: BatchKey) -> Batch | None:
    """Make the batch the caller's: earlier attempts can claim no more of it. None if it is gone."""
    row = await (await conn.execute(_TAKE, key.values())).fetchone()
    if row is None:
        return None
    lane, size, claimed, epoch, owes = row
    return Batch(key.number, Lane(lane), size, claimed, epoch, owes)


async def count(conn: LedgerConnection, key: BatchKey, added: Counts) -> None:
    """Add outcomes that were just recorded, in the same transaction, to the batch's counts."""
    statement = COUNT_SKIPPED if added.skipped else COUNT
    await conn.execute(statement, {**key.values(), **added.values()})


async def close(conn: LedgerConnection, key: BatchKey) -> BatchCounts:
    """Mark the batch as completed where all its tokens are final, and say its counts.

    A completed batch owes nothing: a note can be left over where an attempt noted a refusal and
    one before it, superseded, recorded that the message was sent. Nobody would come back to it.
    """
    row = await (await conn.execute(_CLOSE, key.values())).fetchone()
    assert row is not None
    return BatchCounts(*row)


async def stats(
    conn: AsyncConnection, project: ProjectCtx, campaign_ids: Sequence[UUID]
) -> Mapping[UUID, Stats]:
    """The counts of campaigns whose audience is frozen, summed over their batches."""
    found = {
        row["campaign_id"]: row
        for row in (await conn.execute(_sums(project, campaign_ids))).mappings()
    }
    reasons = await _skip_reasons(conn, project, campaign_ids)
    return {campaign: stats_of(row, reasons.get(campaign, {})) for campaign, row in found.items()}


async def stats_by_bucket(conn: AsyncConnection, campaign: Campaign) -> Mapping[int, Stats]:
    """The counts of each bucket whose audience is frozen, by number."""
    columns = push_batches.c
    counters = (columns.sent, columns.failed, columns.skipped, columns.unknown)
    statement = (
        sa.select(
            columns.bucket,
            sa.func.sum(sa.func.cardinality(columns.token_ids)).label("audience"),
            sa.func.sum(columns.possible_duplicates).label("repeats"),
            *(sa.func.sum(counter).label(counter.name) for counter in counters),
        )
        .where(columns.project_id == campaign.project_id, columns.campaign_id == campaign.id)
        .group_by(columns.bucket)
    )
    found = (await conn.execute(statement)).mappings()
    return {row["bucket"]: stats_of(row, {}) for row in found}


def _sums(project: ProjectCtx, campaign_ids: Sequence[UUID]) -> sa.Select[tuple[object, ...]]:
    columns = push_batches.c
    counters = (columns.sent, columns.failed, columns.skipped, columns.unknown)
    return (
        sa.select(
            push_campaigns.c.id.label("campaign_id"),
            push_campaigns.c.audience,
            sa.func.coalesce(sa.func.sum(columns.possible_duplicates), 0).label("repeats"),
            *(sa.func.coalesce(sa.func.sum(count), 0).label(count.name) for count in counters),
        )
        .outerjoin(
            push_batches,
            (columns.project_id == push_campaigns.c.project_id)
            & (columns.campaign_id == push_campaigns.c.id),
        )
        .where(
            push_campaigns.c.project_id == project.project_id,
            push_campaigns.c.id.in_(campaign_ids),
            push_campaigns.c.frozen_at.is_not(None),
        )
        .group_by(push_campaigns.c.id, push_campaigns.c.audience)
    )


async def _skip_reasons(
    conn: AsyncConnection, project: ProjectCtx, campaign_ids: Sequence[UUID]
) -> Mapping[UUID, Mapping[str, int]]:
    statement = sa.text(
        """
        SELECT campaign_id, reason.key, sum(reason.value::int)
        FROM push_batches, jsonb_each_text(skipped_by) AS reason
        WHERE project_id = :project AND campaign_id = ANY(:campaigns) AND skipped > 0
        GROUP BY campaign_id, reason.key ORDER BY reason.key
        """
    ).bindparams(sa.bindparam("campaigns", type_=ARRAY(sa.UUID)))
    values = {"project": project.project_id, "campaigns": list(campaign_ids)}
    found: dict[UUID, dict[str, int]] = {}
    for campaign, reason, count in await conn.execute(statement, values):
        found.setdefault(campaign, {})[reason] = int(count)
    return found


def stats_of(
    row: sa.RowMapping | Mapping[str, Any],  # Any: values of many columns
    skipped_by: Mapping[str, int],
) -> Stats:
    """The counts of a row of `audience`, the four ends, and `repeats`."""
    audience = int(row["audience"])
    final = int(row["sent"] + row["failed"] + row["skipped"] + row["unknown"])
    return Stats(
        audience=audience,
        pending=audience - final,
        sent=int(row["sent"]),
        failed=int(row["failed"]),
        skipped=int(row["skipped"]),
        unknown=int(row["unknown"]),
        possible_duplicates=int(row["repeats"]),
        skipped_by=skipped_by,
    )


_TAKE = """
    UPDATE push_batches b SET epoch = epoch + 1
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
    RETURNING lane, cardinality(token_ids), claimed, epoch,
        EXISTS (SELECT FROM push_owed o WHERE o.project_id = b.project_id
                AND o.campaign_id = b.campaign_id AND o.number = b.number)
"""

_CLOSE = """
    WITH closed AS (
        UPDATE push_batches SET completed_at = CASE
            WHEN sent + failed + skipped + unknown = cardinality(token_ids)
            THEN coalesce(completed_at, now()) END
        WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s
          AND number = %(number)s
        RETURNING cardinality(token_ids) AS size, sent, failed, skipped, unknown, suspects,
            completed_at
    ),
    forgotten AS (
        DELETE FROM push_owed USING closed
        WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s
          AND number = %(number)s AND closed.completed_at IS NOT NULL
    )
    SELECT size, sent, failed, skipped, unknown, suspects FROM closed
"""

COUNT = """
    UPDATE push_batches SET
        sent = sent + %(sent)s, failed = failed + %(failed)s, unknown = unknown + %(unknown)s,
        possible_duplicates = possible_duplicates + %(repeats)s, suspects = suspects + %(suspects)s
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
"""

# The skip reasons are added key by key: {"expired": 2} + {"expired": 1, "token_gone": 1}.
COUNT_SKIPPED = """
    UPDATE push_batches SET
        sent = sent + %(sent)s, failed = failed + %(failed)s, unknown = unknown + %(unknown)s,
        possible_duplicates = possible_duplicates + %(repeats)s, suspects = suspects + %(suspects)s,
        skipped = skipped + %(skipped)s,
        skipped_by = (
            SELECT jsonb_object_agg(reason, amount) FROM (
                SELECT key AS reason, sum(value::int) AS amount FROM (
                    SELECT * FROM jsonb_each_text(skipped_by)
                    UNION ALL SELECT * FROM jsonb_each_text(%(skipped_by)s::jsonb)
                ) AS both_counts GROUP BY key
            ) AS sums)
    WHERE project_id = %(project_id)s AND campaign_id = %(campaign_id)s AND number = %(number)s
"""
