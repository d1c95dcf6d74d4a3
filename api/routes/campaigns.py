"""Campaigns: create, read, send."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from api import fields, launch
from api.contents import Data, ScheduledAt, Text, Title, check_expiry, check_schedule, content_of
from api.dependencies import Connection, Deployment, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.resources import Resources
from api.routing import GuardedRoute
from fanfare.db import batches, campaigns, paces, progress
from fanfare.db.campaigns import CampaignFilter, NewCampaign
from fanfare.db.progress import Progress
from fanfare.db.rows import Page
from fanfare.entities import Campaign, Failure, Scope, Stats
from fanfare.models import CampaignStatus, OnUnknown
from workflows import starter

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])

_WIN_BACK: Mapping[str, object] = {
    "name": "win-back-7d",
    "title": "Welcome back!",
    "body": "Your streak is waiting for you.",
    "data": {"screen": "home", "promo": "winback"},
    "segment_id": "seg_inactive_7d",
}
_EXAMPLES: Sequence[Mapping[str, object]] = (
    {**_WIN_BACK, "scheduled_at": "2027-04-20T09:00:00Z"},
    _WIN_BACK,
    {"title": "Hello", "body": "Version 2 is here."},
)


class CampaignBody(fields.Body):
    title: Title
    body: Text
    name: fields.Name | None = Field(default=None, description="Defaults to the title.")
    data: Data = Field(default_factory=dict)
    segment_id: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Absent: every active device of the project."
    )
    scheduled_at: ScheduledAt = None
    expires_at: fields.Instant | None = Field(
        default=None, description="Nothing is sent after it, and phones show nothing after it."
    )
    on_unknown: OnUnknown = Field(
        default=OnUnknown.RESEND,
        description="What becomes of messages whose outcome a crash or time-out left unknown: "
        "`resend` once more, flagged as possible duplicates, or `skip` and record `unknown`.",
    )

    def checked(self) -> NewCampaign:
        """What is to be stored. Raises what `contents` raises."""
        now = datetime.now(UTC)
        check_schedule(self.scheduled_at, now)
        check_expiry(self.expires_at, self.scheduled_at or now)
        return NewCampaign(
            name=self.name or self.title,
            content=content_of(self.title, self.body, self.data),
            segment_id=self.segment_id,
            scheduled_at=self.scheduled_at,
            expires_at=self.expires_at,
            on_unknown=self.on_unknown,
        )


class Links(BaseModel):
    workflow: str | None = Field(description="The campaign's page in the Temporal web UI.")


class CampaignView(BaseModel):
    """A campaign as it is answered, with live counts."""

    id: UUID
    name: str
    title: str
    body: str
    data: Mapping[str, Any]  # Any: JSON
    segment_id: str | None
    status: CampaignStatus
    scheduled_at: datetime | None
    expires_at: datetime | None
    on_unknown: OnUnknown
    paused_at: datetime | None
    sent_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    stats: Stats
    held_until: datetime | None = Field(
        description="Until when a provider's throttle (429 for the whole project) holds what is "
        "left of a campaign that is `sending`: the last to end, where it holds both providers; "
        "what goes through another one goes on. It ends by itself, and nothing is lost. Null "
        "where none holds it, and in the answer to `send`, which has not looked yet."
    )
    failure: Failure | None
    links: Links

    @classmethod
    def of(cls, found: Progress, resources: Resources) -> "CampaignView":
        """The row, its counts, what holds it, and where to look further."""
        campaign = found.campaign
        return cls(
            id=campaign.id,
            name=campaign.name,
            title=campaign.content.title,
            body=campaign.content.body,
            data=campaign.content.data,
            segment_id=campaign.segment_id,
            status=campaign.status,
            scheduled_at=campaign.scheduled_at,
            expires_at=campaign.expires_at,
            on_unknown=campaign.on_unknown,
            paused_at=campaign.paused_at,
            sent_at=campaign.sent_at,
            cancelled_at=campaign.cancelled_at,
            created_at=campaign.created_at,
            updated_at=campaign.updated_at,
            stats=found.stats,
            held_until=found.held_until,
            failure=campaign.failure,
            links=Links(workflow=_workflow_url(campaign, resources)),
        )


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
    body: Annotated[CampaignBody, Body(examples=list(_EXAMPLES))],
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Create a campaign: `scheduled` where it has a time, else a `draft` to send later."""
    new = body.checked()
    campaign = await launch.create(resources.database, resources.temporal, project, new)
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
    page = await campaigns.page(conn, project, paging, wanted)
    ids = [campaign.id for campaign in page.items]
    counts = await batches.stats(conn, project, ids)
    holds = await paces.holds(conn, project, ids)
    views = [
        CampaignView.of(
            Progress(campaign, counts.get(campaign.id, Stats()), holds.get(campaign.id)), resources
        )
        for campaign in page.items
    ]
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


@router.post(
    "/{id}/send",
    status_code=202,
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503),
)
async def send_campaign(
    id: UUID,  # noqa: A002 - the path's name
    project: Project,
    resources: Deployment,
) -> Envelope[CampaignView]:
    """Send a draft now, or what a failed campaign still owes. Of many callers one wins."""
    campaign, stats = await launch.send(resources.database, resources.temporal, project, id)
    return Envelope(data=CampaignView.of(Progress(campaign, stats), resources))


def _workflow_url(campaign: Campaign, resources: Resources) -> str | None:
    if resources.temporal_ui_url is None or campaign.status is CampaignStatus.DRAFT:
        return None
    namespace = resources.temporal.namespace
    workflows = f"{resources.temporal_ui_url}/namespaces/{namespace}/workflows"
    return f"{workflows}/{starter.workflow_id(campaign.id)}"
