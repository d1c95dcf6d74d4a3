"""What one does to a campaign: send, pause, resume, cancel."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query

from api import fields, launch
from api.campaignchanges import Confirmation
from api.campaignviews import CampaignView
from api.dependencies import ClaimId, Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.previews import PreviewView, preview_of
from api.principals import requires
from api.resources import Resources
from api.routing import GuardedRoute
from fanfare.db import campaigns, progress
from fanfare.entities import Scope
from fanfare.models import ProjectCtx

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])


class SendBody(fields.Body):
    confirmation: Confirmation | None = None


@router.post(
    "/{id}/send",
    status_code=202,
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def send_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
    claim_id: ClaimId,
    body: Annotated[SendBody | None, Body(examples=[{}])] = None,
    dry_run: Annotated[
        bool, Query(description="Send nothing: answer as the preview does, with a confirmation.")
    ] = False,
) -> Envelope[CampaignView] | Envelope[PreviewView]:
    """Send a draft now, or what a failed campaign still owes. Of many callers one wins."""
    if dry_run:
        return Envelope(data=await _preview(resources, project, id))
    given = None if body is None else body.confirmation
    now = datetime.now(UTC)
    await launch.send(resources, project, id, claim_id=claim_id, confirmation=given, now=now)
    return await _answer(resources, project, id)


@router.post(
    "/{id}/pause",
    status_code=202,
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503),
)
async def pause_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Stop a scheduled or sending campaign for a while. From this answer on at most what is on the
    wire is accepted: `in_flight_at_most`. One that is paused stays so. Works without Temporal."""
    await launch.pause(resources, project, id)
    return await _answer(resources, project, id)


@router.post(
    "/{id}/resume",
    status_code=202,
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503),
)
async def resume_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Go on with a paused campaign: with exactly what it still owes. One whose time has come
    meanwhile goes out now. One that is not paused stays as it is."""
    await launch.resume(resources, project, id)
    return await _answer(resources, project, id)


@router.post(
    "/{id}/cancel",
    status_code=202,
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503),
)
async def cancel_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Stop a scheduled, sending or paused campaign for good. From this answer on at most what is on
    the wire is accepted: `in_flight_at_most`; then the rest of the audience is recorded as skipped.
    One that is cancelled stays so. Works without Temporal."""
    await launch.cancel(resources, project, id)
    return await _answer(resources, project, id)


async def _answer(
    resources: Resources, project: ProjectCtx, campaign_id: UUID
) -> Envelope[CampaignView]:
    found = await progress.get(resources.reads, project, campaign_id)
    return Envelope(data=CampaignView.of(found, resources))


async def _preview(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> PreviewView:
    async with resources.database.project(project) as conn:
        campaign = await campaigns.get(conn, project, campaign_id)
    return await preview_of(resources, project, campaign)
