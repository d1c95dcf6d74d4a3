"""Campaigns that a request sets going: the row first, then the workflow that works on it.

Where Temporal is away, the row is put back as it was, so that the same request works later. Where
even that fails, the row stays, and the upkeep starts its workflow when both are there again.
"""

from uuid import UUID

from temporalio.client import Client

from fanfare.db import batches, campaigns, segments
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.entities import Campaign, Stats
from fanfare.errors import TemporalUnavailable
from fanfare.models import CampaignStatus, ProjectCtx
from workflows import starter


async def create(
    database: Database, temporal: Client, project: ProjectCtx, new: NewCampaign
) -> Campaign:
    """Store a campaign, and start its wait where it has a time.

    Raises SegmentNotFound, DatabaseUnavailable, or TemporalUnavailable with nothing stored.
    """
    async with database.project(project) as conn:
        if new.segment_id is not None:
            await segments.hold(conn, project, new.segment_id)
        campaign = await campaigns.create(conn, project, new)
    if campaign.status is CampaignStatus.SCHEDULED:
        await _start(database, temporal, campaign, before=None)
    return campaign


async def send(
    database: Database, temporal: Client, project: ProjectCtx, campaign_id: UUID
) -> tuple[Campaign, Stats]:
    """Send a draft now, or what a failed campaign still owes. Of many callers one wins.

    Raises CampaignNotFound, CampaignAlreadySent, CampaignAlreadyScheduled, DatabaseUnavailable,
    or TemporalUnavailable with the campaign as it was.
    """
    async with database.project(project) as conn:
        before = await campaigns.get(conn, project, campaign_id)
        campaign = await campaigns.begin_sending(conn, project, campaign_id)
        counts = await batches.stats(conn, project, [campaign_id])
    await _start(database, temporal, campaign, before=before)
    return campaign, counts.get(campaign_id, Stats())


async def _start(
    database: Database, temporal: Client, campaign: Campaign, *, before: Campaign | None
) -> None:
    try:
        await starter.start(temporal, campaign)
    except TemporalUnavailable:
        async with database.project(ProjectCtx(campaign.project_id)) as conn:
            undone = await campaigns.take_back_start(conn, campaign, before)
        # Not undone: the start did arrive, and a workflow has begun on the row.
        if undone:
            raise
