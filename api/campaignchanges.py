"""What PATCH takes of a campaign, and what becomes of the campaign by it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, ValidationError

from api import fields
from api.campaignbodies import (
    CampaignBody,
    Clock,
    Day,
    Length,
    RateLimit,
    SegmentId,
    WindowBody,
)
from api.contents import Data, ScheduledAt, Text, Title
from api.errors import faults_of
from fanfare.db.campaigns import NewCampaign
from fanfare.entities import Campaign, Project
from fanfare.errors import InvalidInput
from fanfare.models import CampaignStatus, DeliveryMode, OnUnknown, PastPolicy

EXAMPLES: Sequence[Mapping[str, object]] = (
    # None with null: FastAPI leaves nulls out of its description.
    {"scheduled_at": "2027-04-21T09:00:00Z"},
    {"delivery_mode": "local_time", "local_date": "2027-04-21", "local_time": "09:00"},
    {"rate_limit": 30000},
    {"title": "Welcome back, friend!", "data": {"screen": "home"}},
)

Confirmation = Annotated[
    str,
    Field(
        max_length=500,
        description="From the preview, where the project asks for one.",
    ),
]

# What says when; where one of them changes, the time must lie ahead.
_WHEN = frozenset({"scheduled_at", "delivery_mode", "local_date", "local_time"})
_LOCAL = frozenset({"local_date", "local_time"})


class CampaignChange(fields.Body):
    """What is absent stays as it is; null is what it is at creation where it is absent.

    `data` and `delivery_window` are replaced as a whole. A name that nobody gave follows the title.
    """

    title: Title | None = None
    body: Text | None = None
    name: Title | None = None
    data: Data | None = None
    segment_id: SegmentId | None = None
    scheduled_at: ScheduledAt = Field(
        default=None,
        description="A new time arms the timer anew; null makes it a draft again. Either ends a "
        "campaign's local time.",
    )
    delivery_mode: DeliveryMode | None = Field(
        default=None,
        description="`local_time` takes `local_date` and `local_time` instead of `scheduled_at`; "
        "`instant` leaves them for `scheduled_at`, or for a draft where there is none.",
    )
    local_date: Day | None = None
    local_time: Clock | None = None
    timezone_fallback: fields.Timezone | None = None
    past_policy: PastPolicy | None = None
    delivery_window: WindowBody | None = None
    max_lateness: Length | None = None
    rate_limit: RateLimit | None = None
    expires_at: fields.Instant | None = None
    on_unknown: OnUnknown | None = None
    confirmation: Confirmation | None = None

    @property
    def is_of_time(self) -> bool:
        """Whether it says anew when the campaign goes out."""
        return not _WHEN.isdisjoint(self.model_fields_set)

    def applied_to(self, campaign: Campaign, project: Project, now: datetime) -> NewCampaign:
        """What is to be stored from now on. Raises InvalidInput, and what `contents` raises."""
        body = self._body(campaign)
        if campaign.status in {CampaignStatus.DRAFT, CampaignStatus.SCHEDULED}:
            self._check_times(body, now)
        return body.stored(project)

    def _check_times(self, body: CampaignBody, now: datetime) -> None:
        # What was said before may have gone by since; that stands in no other change's way.
        if self.is_of_time:
            body.check_time(now)
        if self.is_of_time or "expires_at" in self.model_fields_set:
            body.check_end(now)

    def _body(self, campaign: Campaign) -> CampaignBody:
        before = CampaignBody.of(campaign).model_dump(mode="json")
        given = self.model_dump(mode="json", exclude_unset=True, exclude={"confirmation"})
        values = before | _implied(given, before) | given
        try:
            return CampaignBody.model_validate(_without_nulls(values))
        except ValidationError as error:
            problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            raise InvalidInput("The change is not valid.", faults_of(problems)) from error


def _implied(given: Mapping[str, object], before: Mapping[str, object]) -> dict[str, object]:
    """What a change says without words.

    A campaign has one mode, and times of that mode only; a name that nobody gave follows the title.
    """
    implied: dict[str, object] = {} if before["name"] != before["title"] else {"name": None}
    match given:
        case {"delivery_mode": DeliveryMode.LOCAL_TIME}:
            return implied | {"scheduled_at": None}
        case {"scheduled_at": _} | {"delivery_mode": _}:
            return implied | dict.fromkeys(_LOCAL) | {"delivery_mode": DeliveryMode.INSTANT}
        case _:
            return implied


def _without_nulls(values: Mapping[str, Any]) -> Mapping[str, Any]:  # Any: values of many fields
    """Null is the default; where there is none, the field is missing, and said to be so."""
    return {name: value for name, value in values.items() if value is not None}
