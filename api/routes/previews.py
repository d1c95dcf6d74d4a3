"""Previews: what a campaign would do, without sending."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from api import campaignbodies, fields
from api.campaignbodies import CampaignBody
from api.dependencies import Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.previews import PreviewView, preview_of, preview_of_unsaved
from api.principals import requires
from api.resources import Resources
from api.routing import GuardedRoute
from fanfare.db import campaigns, projects
from fanfare.entities import Scope
from fanfare.models import ProjectCtx

_SAVED: Mapping[str, object] = {"campaign_id": "0190b5a2-3c58-7d6e-9f10-2b3c4d5e6f70"}


class PreviewRoute(GuardedRoute):
    """Starts nothing, and takes no Idempotency-Key: each answer is of its own moment."""

    runs_once = False


router = APIRouter(route_class=PreviewRoute, tags=["campaigns"])


class SavedCampaign(fields.Body):
    """A campaign that is there; nothing else may be said beside its id."""

    campaign_id: UUID


def _by_what_is_named(
    value: object, _union: ValidatorFunctionWrapHandler
) -> SavedCampaign | CampaignBody:
    # By itself, pydantic would tell the faults of both, under paths that no body has.
    is_saved = isinstance(value, dict) and "campaign_id" in value
    return (SavedCampaign if is_saved else CampaignBody).model_validate(value)


PreviewBody = Annotated[SavedCampaign | CampaignBody, WrapValidator(_by_what_is_named)]


@router.post(
    "/preview",
    # Who may schedule a campaign needs its confirmation as much as who may send one.
    dependencies=[requires(Scope.CAMPAIGNS_SEND, Scope.CAMPAIGNS_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def preview_campaign(
    body: Annotated[PreviewBody, Body(examples=[_SAVED, *campaignbodies.EXAMPLES])],
    project: Project,
    resources: Deployment,
) -> Envelope[PreviewView]:
    """What a campaign would do, and to how many: a saved one by its id, with a `confirmation` for
    `send`; or one that is not saved, by the fields that create takes. Nothing is sent or stored."""
    if isinstance(body, SavedCampaign):
        return Envelope(data=await _saved(resources, project, body.campaign_id))
    settings = await projects.find(resources.reads, project)
    new = body.checked(settings, datetime.now(UTC))
    return Envelope(data=await preview_of_unsaved(resources, project, new))


async def _saved(resources: Resources, project: ProjectCtx, campaign_id: UUID) -> PreviewView:
    async with resources.database.project(project) as conn:
        campaign = await campaigns.get(conn, project, campaign_id)
    return await preview_of(resources, project, campaign)
