"""A campaign as it is answered."""

from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.campaignbodies import Clock, Day, Length, WindowBody
from api.resources import Resources
from fanfare.db.progress import Progress
from fanfare.degradation import Degraded
from fanfare.entities import Bucket, Campaign, Failure, Stats
from fanfare.models import CampaignStatus, DeliveryMode, OnUnknown, PastPolicy, PausedReason
from workflows import starter


class Links(BaseModel):
    workflow: str | None = Field(description="The campaign's page in the Temporal web UI.")


class CampaignView(BaseModel):
    """A campaign with live counts."""

    id: UUID
    name: str
    title: str
    body: str
    data: Mapping[str, Any]  # Any: JSON
    segment_id: str | None
    status: CampaignStatus
    scheduled_at: datetime | None
    delivery_mode: DeliveryMode
    local_date: Day | None
    local_time: Clock | None
    timezone_fallback: str
    past_policy: PastPolicy
    delivery_window: WindowBody | None
    max_lateness: Length
    rate_limit: int | None
    expires_at: datetime | None
    on_unknown: OnUnknown
    paused_at: datetime | None = Field(
        description="Since when it rests; its `status` stays. Null where it does not."
    )
    paused_reason: PausedReason | None = Field(
        description="Why it rests. `operator`: somebody paused it. `database_restored`: the "
        "database was restored from a backup while it was open, so what it sent since may be "
        "missing here. `resume` goes on with what is left, each message flagged as a possible "
        "duplicate, or ended as `unknown` where `on_unknown` is `skip`; `cancel` ends it. Null "
        "where it does not rest.",
        examples=["database_restored"],
    )
    sent_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    stats: Stats
    in_flight_at_most: int | None = Field(
        description="How many messages may still be accepted of a campaign that is paused or was "
        "cancelled: they were on the wire at that moment. Nothing else goes out. Null where "
        "nothing stops the campaign, and once a cancelled one is settled."
    )
    held_until: datetime | None = Field(
        description="Until when a provider's throttle (429 for the whole project) holds what is "
        "left of a campaign that is `sending`: the last to end, where it holds both providers; "
        "what goes through another one goes on. It ends by itself, and nothing is lost. Null "
        "where none holds it."
    )
    degraded: Degraded | None = Field(
        description="Why a campaign that is `sending`, or due, does not move now, and since when: "
        "no worker lives (NO_WORKER), none reaches Temporal (TEMPORAL_UNREACHABLE), PostgreSQL "
        "takes no writes (LEDGER_NOT_WRITABLE), it was due more than a minute ago and has not "
        "begun (NOT_BEGUN), or throttles hold all that is left (PROVIDER_HELD, see `held_until`). "
        "Its `status` stays, nothing is lost, and it goes on by itself. Null where all is well, "
        "and where it is paused."
    )
    failure: Failure | None
    links: Links

    @classmethod
    def of(cls, found: Progress, resources: Resources) -> "CampaignView":
        """The row, its counts, what holds it, and where to look further."""
        campaign, timing = found.campaign, found.campaign.timing
        return cls(
            id=campaign.id,
            name=campaign.name,
            title=campaign.content.title,
            body=campaign.content.body,
            data=campaign.content.data,
            segment_id=campaign.segment_id,
            status=campaign.status,
            scheduled_at=timing.scheduled_at,
            delivery_mode=timing.delivery_mode,
            local_date=timing.local_date,
            local_time=timing.local_time,
            timezone_fallback=timing.timezone_fallback,
            past_policy=timing.past_policy,
            delivery_window=WindowBody.of(timing.window),
            max_lateness=timing.max_lateness,
            rate_limit=campaign.rate_limit,
            expires_at=campaign.expires_at,
            on_unknown=campaign.on_unknown,
            paused_at=campaign.paused_at,
            paused_reason=campaign.paused_reason,
            sent_at=campaign.sent_at,
            cancelled_at=campaign.cancelled_at,
            created_at=campaign.created_at,
            updated_at=campaign.updated_at,
            stats=found.stats,
            in_flight_at_most=found.in_flight,
            held_until=found.held_until,
            degraded=found.degraded,
            failure=campaign.failure,
            links=Links(workflow=_workflow_url(campaign, resources)),
        )


class BucketCounts(BaseModel):
    """As in a campaign's `stats`."""

    audience: int
    pending: int
    sent: int
    failed: int
    skipped: int
    unknown: int


class BucketView(BaseModel):
    """Users of some time zones, and their turn."""

    number: int
    timezones: Sequence[str] | None = Field(description="Null: everybody.")
    fires_at: datetime
    opens_at: datetime = Field(description="From when its messages may go out, now or next.")
    closes_at: datetime | None = Field(
        description="Up to when: the end of the delivery window. Null without a window."
    )
    frozen_at: datetime | None = Field(description="When its audience was frozen. Null: not yet.")
    stats: BucketCounts | None

    @classmethod
    def of(cls, bucket: Bucket, counts: Mapping[int, Stats]) -> "BucketView":
        """A bucket with its counts, once it is frozen."""
        stats = counts.get(bucket.number, Stats(audience=0))
        return cls(
            **{each.name: getattr(bucket, each.name) for each in dataclass_fields(bucket)},
            stats=None if bucket.frozen_at is None else _counts(stats),
        )


def _counts(stats: Stats) -> BucketCounts:
    return BucketCounts(**{name: getattr(stats, name) for name in BucketCounts.model_fields})


def _workflow_url(campaign: Campaign, resources: Resources) -> str | None:
    if resources.temporal_ui_url is None or campaign.status is CampaignStatus.DRAFT:
        return None
    namespace = resources.temporal.namespace
    workflows = f"{resources.temporal_ui_url}/namespaces/{namespace}/workflows"
    return f"{workflows}/{starter.workflow_id(campaign.id)}"
