"""A campaign as it is looked at while it is sent: the row, its counts, and what holds it.

One question of four tables, because it is asked again and again while a campaign runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fanfare.db import batches, campaigns, paces
from fanfare.db.read_pool import ReadPool
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign, Stats
from fanfare.errors import CampaignNotFound
from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is. `held_until`: as `paces.holds` has it."""

    campaign: Campaign
    stats: Stats
    held_until: datetime | None = None


async def get(reads: ReadPool, project: ProjectCtx, campaign_id: UUID) -> Progress:
    """One campaign, in one round trip. Raises CampaignNotFound.

    The counts are summed over its batches: 1,000 rows for a million devices.
    """
    values = {"project": project.project_id, "campaign": campaign_id}
    row = await reads.row_of(project, _PROGRESS, values)
    if row is None:
        raise CampaignNotFound(f"There is no campaign {campaign_id} in this project.")
    return Progress(campaigns.from_row(row), _stats(row), row["held_until"])


def _stats(row: Mapping[str, Any]) -> Stats:  # Any: values of many columns
    if row["frozen_at"] is None:
        return Stats()
    return batches.stats_of(row, dict(sorted((row["skipped_by"] or {}).items())))


# By their names: a plan that is kept does not outlive a `*` that means more than before.
_COLUMNS = ", ".join(f"c.{name}" for name in push_campaigns.columns.keys())  # noqa: SIM118

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
        ({paces.HELD}) AS held_until
    FROM push_campaigns c, LATERAL (
        SELECT coalesce(sum(sent), 0) AS sent, coalesce(sum(failed), 0) AS failed,
            coalesce(sum(skipped), 0) AS skipped, coalesce(sum(unknown), 0) AS unknown,
            coalesce(sum(possible_duplicates), 0) AS repeats
        FROM push_batches b WHERE b.project_id = c.project_id AND b.campaign_id = c.id
    ) AS counts
    WHERE c.project_id = %(project)s AND c.id = %(campaign)s
"""  # noqa: S608 - constants alone
