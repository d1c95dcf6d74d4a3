"""Campaigns: create, read, change, remove."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query

from api import campaignbodies, campaignchanges, launch
from api.campaignbodies import CampaignBody
from api.campaignchanges import CampaignChange
from api.campaignviews import BucketView, CampaignView
from api.dependencies import ClaimId, Connection, Deployment, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare.db import batches, buckets, campaignlists, campaigns, progress
from fanfare.db.campaignlists import CampaignFilter
from fanfare.db.progress import Progress
from fanfare.db.rows import Page
from fanfare.entities import Scope, Stats
from fanfare.models import CampaignStatus

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])


async def _campaign_filter(
    status: CampaignStatus | None = None,
    segment_id: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[str | None, Query(max_length=200, description="In name or title.")] = None,
) -> CampaignFilter:
    return CampaignFilter(status, segment_id, q)


@router.post(
    "",
    status_code=201,
    dependencies=[requires(Scope.CAMPAIGNS_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def create_campaign(
    body: Annotated[CampaignBody, Body(examples=list(campaignbodies.EXAMPLES))],
    project: Project,
    resources: Deployment,
    claim_id: ClaimId,
) -> Envelope[CampaignView]:
    """Create a campaign: `scheduled` where it has a time, else a `draft` to send later."""
    now = datetime.now(UTC)
    campaign = await launch.create(resources, project, body, claim_id=claim_id, now=now)
    return Envelope(data=CampaignView.of(Progress(campaign, Stats()), resources))


@router.get(
    "",
    dependencies=[requires(Scope.CAMPAIGNS_READ)],
    responses=documented_errors(400, 401, 403, 503),
)
async def list_campaigns(
    conn: Connection,
    project: Project,
    paging: Paging,
    wanted: Annotated[CampaignFilter, Depends(_campaign_filter)],
    resources: Deployment,
) -> Listing[CampaignView]:
    """The project's campaigns, the newest first, with their counts."""
    page = await campaignlists.page(conn, project, paging, wanted)
    found = await progress.of_all(conn, project, page.items)
    views = [CampaignView.of(each, resources) for each in found]
    return Listing[CampaignView].of(Page(views, page.next_cursor))


@router.get(
    "/{id}",
    dependencies=[requires(Scope.CAMPAIGNS_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def get_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """One campaign, with live counts from its ledger. Made to be asked again and again."""
    found = await progress.get(resources.reads, project, id)
    return Envelope(data=CampaignView.of(found, resources))


@router.patch(
    "/{id}",
    dependencies=[requires(Scope.CAMPAIGNS_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def change_campaign(
    id: UUID,  # noqa: A002 - the path's name
    body: Annotated[CampaignChange, Body(examples=list(campaignchanges.EXAMPLES))],
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Change a draft or a scheduled campaign. A new time arms its timer anew, `scheduled_at: null`
    makes it a draft again, a time makes a draft scheduled. Of one that is `sending`, paused or
    not, or `failed`, only `rate_limit` and `delivery_window`; it obeys within a second or two."""
    await launch.change(resources, project, id, body, now=datetime.now(UTC))
    return await get_campaign(id, project, resources)


@router.delete(
    "/{id}",
    status_code=204,
    dependencies=[requires(Scope.CAMPAIGNS_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 503),
)
async def delete_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> None:
    """Remove a draft or a scheduled campaign. What has begun keeps its ledger."""
    await launch.remove(resources, project, id)


@router.get(
    "/{id}/buckets",
    dependencies=[requires(Scope.CAMPAIGNS_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def list_buckets(
    id: UUID,  # noqa: A002 - the path's name
    conn: Connection,
    project: Project,
) -> Envelope[Sequence[BucketView]]:
    """Whose turn it is when, and how far each is: of a campaign in local time or with a window, by
    time zone, in the order of their turns. Empty for a campaign that goes out to all at once, and
    before it is scheduled or sent; about a second after that it is worked out."""
    campaign = await campaigns.get(conn, project, id)
    found = await buckets.all_of(conn, campaign)
    counts = await batches.stats_by_bucket(conn, campaign)
    return Envelope(data=[BucketView.of(bucket, counts) for bucket in found])
