"""A campaign's preview as it is answered: what it would do, without doing it."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, Field

from api import confirmations, forecasts
from api.forecasts import Outlook, Planned
from api.resources import Resources
from fanfare.db import campaigns
from fanfare.db.campaigns import NewCampaign
from fanfare.entities import Campaign
from fanfare.forecasts import AudienceForecast, Buckets, Expectation, expect
from fanfare.models import CampaignStatus, Platform, ProjectCtx, ProviderName, SkipReason
from fanfare.payload import payload_sizes

# What has a preview: campaigns that can be sent, by hand or by their time.
_UNSENT = frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.FAILED})


class AudienceView(BaseModel):
    """Whom it would reach. `devices` is `to_send` and all that is `skipped`."""

    devices: int
    users: int
    users_without_device: int = Field(description="Users of the segment who have no active device.")
    by_platform: Mapping[Platform, int]
    by_provider: Mapping[ProviderName, int]
    skipped: Mapping[SkipReason, int] = Field(
        description="Devices by the reason why they get nothing: `no_credential`, `past` (of local "
        "time), `expired` (their time comes after `expires_at`)."
    )
    to_send: int

    @classmethod
    def of(cls, forecast: AudienceForecast) -> Self:
        """The forecast, counted in each way."""
        platforms, providers = Counter[Platform](), Counter[ProviderName]()
        for each in forecast.audience.devices:
            platforms[each.platform] += each.devices
            providers[each.lane.provider] += each.devices
        return cls(
            devices=platforms.total(),
            users=forecast.audience.users,
            users_without_device=forecast.audience.users_without_device,
            by_platform={platform: platforms[platform] for platform in Platform},
            by_provider={provider: providers[provider] for provider in ProviderName},
            skipped=dict(sorted(forecast.skipped.items())),
            to_send=forecast.sends,
        )


class RateView(BaseModel):
    """The limit that decides how long it takes."""

    messages_per_minute: int
    limited_by: str = Field(
        description="`campaign`, `project`, or `apns credential`, `apns-sandbox credential`, "
        "`fcm credential`."
    )


class ConfirmationView(BaseModel):
    required: bool = Field(description="Whether the project asks for one at this size.")
    token: str | None = Field(
        description="Send it as `confirmation`, to send or to schedule just this campaign. Null "
        "where the campaign is not saved."
    )
    expires_at: datetime | None


class PreviewView(BaseModel):
    """What a campaign would do if it were sent now, or at its time."""

    audience: AudienceView
    payload_bytes: Mapping[ProviderName, int] = Field(description="Of at most 4,096 each.")
    expected_duration_seconds: int | None = Field(
        description="At the rate of today's limits, from a standing start, alone, and without the "
        "waits between buckets. Null where nothing limits the rate."
    )
    rate: RateView | None
    buckets: Buckets | None = Field(
        description="Of a campaign in local time or with a delivery window: at how many moments it "
        "goes out."
    )
    confirmation: ConfirmationView


async def preview_of(resources: Resources, project: ProjectCtx, campaign: Campaign) -> PreviewView:
    """The preview of a saved campaign, with a confirmation that fits it.

    Raises CampaignAlreadySent where it cannot be sent any more, and what `forecasts.look` raises.
    """
    if campaign.status not in _UNSENT:
        raise campaigns.refusal_to_send(campaign)
    return await _preview(resources, project, Planned.of(campaign))


async def preview_of_unsaved(
    resources: Resources, project: ProjectCtx, new: NewCampaign
) -> PreviewView:
    """The preview of what is not saved. Raises what `forecasts.look` raises."""
    return await _preview(resources, project, Planned(new))


async def _preview(resources: Resources, project: ProjectCtx, planned: Planned) -> PreviewView:
    now = datetime.now(UTC)
    outlook = await forecasts.look(resources, project, planned, now=now)
    expected = expect(
        outlook.forecast.to_send,
        outlook.limits,
        campaign_rate=planned.said.rate_limit,
        project_rate=outlook.project.rate_limit,
    )
    return PreviewView(
        audience=AudienceView.of(outlook.forecast),
        payload_bytes=payload_sizes(planned.said.content),
        expected_duration_seconds=_seconds(expected),
        rate=_rate(expected),
        buckets=outlook.forecast.buckets,
        confirmation=_confirmation(planned, outlook, resources.pepper, now),
    )


def _seconds(expected: Expectation | None) -> int | None:
    return None if expected is None else math.ceil(expected.duration.total_seconds())


def _rate(expected: Expectation | None) -> RateView | None:
    if expected is None:
        return None
    return RateView(
        messages_per_minute=expected.messages_per_minute, limited_by=expected.limited_by
    )


def _confirmation(
    planned: Planned, outlook: Outlook, pepper: bytes, now: datetime
) -> ConfirmationView:
    required = outlook.needs_confirmation
    if planned.saved is None:
        return ConfirmationView(required=required, token=None, expires_at=None)
    issued = confirmations.issue(planned.saved.id, planned.said, outlook, now=now)
    return ConfirmationView(
        required=required, token=issued.signed(pepper), expires_at=issued.expires_at
    )
