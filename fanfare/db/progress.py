"""A campaign as it is looked at while it is sent: the row, its counts, and what holds it.

One question of four tables, because it is asked again and again while a campaign runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import batches, campaigns, degradations, paces
from fanfare.db.read_pool import ReadPool
from fanfare.db.tables import push_campaigns
from fanfare.degradation import Degraded
from fanfare.entities import Campaign, Stats
from fanfare.errors import CampaignNotFound
from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is. `held_until`: as `paces.holds` has it.

    `in_flight`: how many messages of a campaign that is stopped may still be accepted, at most:
    those that were claimed, have no outcome, and are not known to be refused. None where nothing
    stops it. `degraded`: why it does not move though it should.
    """

    campaign: Campaign
    stats: Stats
    held_until: datetime | None = None
    in_flight: int | None = None
    degraded: Degraded | None = None


async def get(reads: ReadPool, project: ProjectCtx, campaign_id: UUID) -> Progress:
    """One campaign, in one round trip. Raises CampaignNotFound.

    The counts are summed over its batches: 1,000 rows for a million devices.
    """
    values = {"project": project.project_id, "campaign": campaign_id}
    row = await reads.row_of(project, _PROGRESS, values)
    if row is None:
        raise CampaignNotFound(f"There is no campaign {campaign_id} in this project.")
    return Progress(
        campaigns.from_row(row),
        _stats(row),
        row["held_until"],
        row["in_flight"],
        degradations.of_row(row),
    )


async def exists(reads: ReadPool, project: ProjectCtx, campaign_id: UUID) -> bool:
    """Whether there is a campaign of that id. One look-up by key."""
    values = {"project": project.project_id, "campaign": campaign_id}
    return await reads.row_of(project, _EXISTS, values) is not None


async def of_all(
    conn: AsyncConnection, project: ProjectCtx, found: Sequence[Campaign]
) -> Sequence[Progress]:
    """How far each of some campaigns is, in four statements for all of them."""
    ids = [campaign.id for campaign in found]
    counts = await batches.stats(conn, project, ids)
    holds = await paces.holds(conn, project, ids)
    values = {"project": project.project_id, "campaigns": ids}
    standing = {row["id"]: row for row in (await conn.execute(_STANDING_OF, values)).mappings()}
    return [
        Progress(
            each,
            counts.get(each.id, Stats()),
            holds.get(each.id),
            standing[each.id]["in_flight"],
            degradations.of_row(standing[each.id]),
        )
        for each in found
        # One may have been removed since it was found.
        if each.id in standing
    ]


def _stats(row: Mapping[str, Any]) -> Stats:  # Any: values of many columns
    if row["frozen_at"] is None:
        return Stats()
    return batches.stats_of(row, dict(sorted((row["skipped_by"] or {}).items())))


# By their names: a plan that is kept does not outlive a `*` that means more than before.
_COLUMNS = ", ".join(f"c.{name}" for name in push_campaigns.columns.keys())  # noqa: SIM118

_EXISTS = """
    SELECT 1 AS found FROM push_campaigns WHERE project_id = %(project)s AND id = %(campaign)s
"""

# Of a campaign `c`. What is owed and was not accepted for certain is not on the wire.
_IN_FLIGHT = """
    CASE WHEN (c.paused_at IS NOT NULL AND c.status IN ('scheduled', 'sending'))
        OR (c.status = 'cancelled' AND c.settled_at IS NULL)
    THEN (
        SELECT greatest(0, coalesce(
            sum(b.claimed - b.sent - b.failed - b.skipped - b.unknown), 0) - (
                SELECT count(*) FROM push_owed o
                WHERE o.project_id = c.project_id AND o.campaign_id = c.id AND NOT o.ambiguous))
        FROM push_batches b
        WHERE b.project_id = c.project_id AND b.campaign_id = c.id AND b.completed_at IS NULL
    ) END
"""

_STANDING_OF = sa.text(
    f"""
    SELECT c.id, c.status, {_IN_FLIGHT} AS in_flight, {degradations.COLUMNS}
    FROM push_campaigns c {degradations.JOINED}
    WHERE c.project_id = :project AND c.id = ANY(:campaigns)
    """  # noqa: S608 - constants alone
).bindparams(sa.bindparam("campaigns", type_=ARRAY(sa.UUID)))

_PROGRESS = f"""
    SELECT {_COLUMNS}, counts.*,
        CASE WHEN counts.skipped > 0 THEN (
            SELECT jsonb_object_agg(reason, amount) FROM (
                SELECT reason.key AS reason, sum(reason.value::int) AS amount
                FROM push_batches b, jsonb_each_text(b.skipped_by) AS reason
                WHERE b.project_id = c.project_id AND b.campaign_id = c.id AND b.skipped > 0
                GROUP BY reason.key
            ) AS reasons
        ) END AS skipped_by,
        ({paces.HELD}) AS held_until,
        {_IN_FLIGHT} AS in_flight,
        {degradations.COLUMNS}
    FROM push_campaigns c CROSS JOIN LATERAL (
        SELECT coalesce(sum(sent), 0) AS sent, coalesce(sum(failed), 0) AS failed,
            coalesce(sum(skipped), 0) AS skipped, coalesce(sum(unknown), 0) AS unknown,
            coalesce(sum(possible_duplicates), 0) AS repeats
        FROM push_batches b WHERE b.project_id = c.project_id AND b.campaign_id = c.id
    ) AS counts {degradations.JOINED}
    WHERE c.project_id = %(project)s AND c.id = %(campaign)s
"""  # noqa: S608 - constants alone
