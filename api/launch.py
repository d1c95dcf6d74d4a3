"""Campaigns that a request sets going or changes: the row first, then the workflow that follows it.

Where Temporal is away, a start is put back as it was, so that the same request works later; where
even that fails, the row stays, and the upkeep starts its workflow when both are there again. What
changes a campaign that is set going needs no Temporal: claims read the row, and a workflow that
could not be told hears of it from the upkeep.
"""

from collections.abc import Awaitable
from datetime import datetime
from uuid import UUID

import structlog
from temporalio.client import Client

from api import confirmations
from api.campaignbodies import CampaignBody
from api.campaignchanges import CampaignChange
from api.forecasts import Planned
from api.resources import Resources
from fanfare.db import campaigns, controls, progress, projects, segments
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.entities import Campaign, Project
from fanfare.errors import TemporalUnavailable, TransactionConflict
from fanfare.models import CampaignStatus, ProjectCtx
from workflows import starter

_UNSENT = frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED})
_FOLLOWED = frozenset({CampaignStatus.SCHEDULED, CampaignStatus.SENDING})

_log = structlog.get_logger()


async def create(
    resources: Resources,
    project: ProjectCtx,
    body: CampaignBody,
    *,
    claim_id: UUID,
    now: datetime,
) -> Campaign:
    """Store a campaign under the id of the request's claim, and start its wait if it has a time.

    The same request again, after a crash, finds the campaign that it made.
    Raises what `body.checked` and `confirmations.require` raise, SegmentNotFound,
    DatabaseUnavailable, or TemporalUnavailable with nothing stored.
    """
    campaign = await _made_before(resources, project, claim_id)
    is_new = campaign is None
    if campaign is None:
        new = body.checked(await projects.find(resources.reads, project), now)
        if new.timing.is_set:
            await confirmations.require(resources, project, Planned(new), None, now=now)
        campaign = await _store(resources.database, project, new, claim_id)
    if campaign.status is CampaignStatus.SCHEDULED:
        await _start(resources, campaign, before=None if is_new else campaign)
    return campaign


async def send(
    resources: Resources,
    project: ProjectCtx,
    campaign_id: UUID,
    *,
    claim_id: UUID,
    confirmation: str | None,
    now: datetime,
) -> None:
    """Send a draft now, or what a failed campaign still owes. Of many callers one wins.

    Raises CampaignNotFound, CampaignAlreadySent, CampaignAlreadyScheduled, what
    `confirmations.require` raises, DatabaseUnavailable, or TemporalUnavailable with the campaign
    as it was.
    """
    settings = await projects.find(resources.reads, project)
    before = await _confirmed(resources, project, campaign_id, confirmation, now)
    async with resources.database.project(project) as conn:
        held = await controls.hold(conn, project, campaign_id)
        campaign = await campaigns.begin_sending(conn, project, campaign_id, claim_id=claim_id)
        _require_unchanged(settings, confirmation, before, held)
    await _start(resources, campaign, before=held)


async def change(
    resources: Resources,
    project: ProjectCtx,
    campaign_id: UUID,
    change: CampaignChange,
    *,
    now: datetime,
) -> None:
    """Change a campaign; with a time of its own it waits for that from here on.

    Raises CampaignNotFound, CampaignNotEditable, SegmentNotFound, what `change.applied_to` and
    `confirmations.require` raise, DatabaseUnavailable, or TemporalUnavailable where a draft could
    not be scheduled and is one still.
    """
    settings = await projects.find(resources.reads, project)
    confirmed = await _confirmed_change(resources, project, campaign_id, change, settings, now)
    async with resources.database.project(project) as conn:
        before = await controls.hold(conn, project, campaign_id)
        _require_unchanged(settings, change.confirmation, confirmed, before)
        after = change.applied_to(before, settings, now)
        if after.segment_id is not None and after.segment_id != before.segment_id:
            await segments.hold(conn, project, after.segment_id)
        campaign = await controls.edit(conn, before, after)
    if before.status is CampaignStatus.DRAFT and campaign.status is CampaignStatus.SCHEDULED:
        await _start(resources, campaign, before=before)
    elif before.status in _FOLLOWED:
        await _tell(resources.temporal, campaign)


async def pause(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> None:
    """Stop claiming at once. Raises CampaignNotFound or CampaignNotPausable."""
    async with resources.database.project(project) as conn:
        campaign = await controls.pause(conn, project, campaign_id)
    await _tell(resources.temporal, campaign)


async def resume(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> None:
    """Go on. Raises CampaignNotFound or CampaignNotResumable."""
    async with resources.database.project(project) as conn:
        campaign = await controls.resume(conn, project, campaign_id)
    await _tell(resources.temporal, campaign)


async def cancel(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> None:
    """Stop for good, and at once. Raises CampaignNotFound or CampaignNotCancellable."""
    async with resources.database.project(project) as conn:
        campaign = await controls.cancel(conn, project, campaign_id)
    if campaign.settled_at is None or campaign.begun_at is None:
        await _tell(resources.temporal, campaign)


async def remove(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> None:
    """Delete a draft or a scheduled one. Raises CampaignNotFound or CampaignNotEditable."""
    async with resources.database.project(project) as conn:
        removed = await controls.remove(conn, project, campaign_id)
    if removed.status is CampaignStatus.SCHEDULED:
        # Where it is not told, the workflow finds no row when its time comes.
        await _try_to_tell(campaign_id, starter.tell(resources.temporal, campaign_id))


async def _made_before(
    resources: Resources, project: ProjectCtx, campaign_id: UUID
) -> Campaign | None:
    if not await progress.exists(resources.reads, project, campaign_id):
        return None
    async with resources.database.project(project) as conn:
        return await campaigns.get(conn, project, campaign_id)


async def _store(
    database: Database, project: ProjectCtx, new: NewCampaign, campaign_id: UUID
) -> Campaign:
    async with database.project(project) as conn:
        if new.segment_id is not None:
            await segments.hold(conn, project, new.segment_id)
        return await campaigns.create(conn, project, new, campaign_id=campaign_id)


async def _confirmed(
    resources: Resources,
    project: ProjectCtx,
    campaign_id: UUID,
    confirmation: str | None,
    now: datetime,
) -> Campaign:
    """The campaign, which may be sent as it is. Before anything is held: it may take seconds."""
    async with resources.database.project(project) as conn:
        found = await campaigns.get(conn, project, campaign_id)
    if found.status in campaigns.SENDABLE:
        planned = Planned(NewCampaign.of(found), found)
        await confirmations.require(resources, project, planned, confirmation, now=now)
    return found


async def _confirmed_change(
    resources: Resources,
    project: ProjectCtx,
    campaign_id: UUID,
    change: CampaignChange,
    settings: Project,
    now: datetime,
) -> Campaign:
    """The campaign, which may be changed so. Before anything is held, as above."""
    async with resources.database.project(project) as conn:
        found = await campaigns.get(conn, project, campaign_id)
    if found.status in _UNSENT:
        planned = Planned(change.applied_to(found, settings, now), found)
        if planned.said.timing.is_set:
            given = change.confirmation
            await confirmations.require(resources, project, planned, given, now=now)
    return found


def _require_unchanged(
    settings: Project, confirmation: str | None, confirmed: Campaign, held: Campaign
) -> None:
    """Where confirmations count: what was confirmed, or needed none, must be what goes out."""
    if settings.confirm_above is None and confirmation is None:
        return
    if NewCampaign.of(confirmed) != NewCampaign.of(held) or confirmed.status != held.status:
        raise TransactionConflict("The campaign was changed at the same moment. Try again.")


async def _start(resources: Resources, campaign: Campaign, *, before: Campaign | None) -> None:
    """Start the workflow. `before` is the row as it is put back where that fails; None for one
    that was made just now."""
    try:
        if before is None or _was_never_followed(before):
            await starter.start(resources.temporal, campaign)
        else:
            # A workflow of before may be about to end, or to wait for another time.
            await starter.follow(resources.temporal, campaign)
    except TemporalUnavailable:
        async with resources.database.project(ProjectCtx(campaign.project_id)) as conn:
            undone = await campaigns.take_back_start(conn, campaign, before)
        # Not undone: the start did arrive, and a workflow has begun on the row.
        if undone:
            raise


def _was_never_followed(campaign: Campaign) -> bool:
    return campaign.status is CampaignStatus.DRAFT and not campaign.revision


async def _tell(temporal: Client, campaign: Campaign) -> None:
    """Have the workflow look at the row. What it does not hear now, the upkeep tells it."""
    await _try_to_tell(campaign.id, starter.follow(temporal, campaign))


async def _try_to_tell(campaign_id: UUID, telling: Awaitable[None]) -> None:
    """The row is written, and stands."""
    try:
        await telling
    except TemporalUnavailable as error:
        _log.warning("change_not_told", campaign_id=str(campaign_id), why=error.message)
