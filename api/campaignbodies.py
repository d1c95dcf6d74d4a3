"""What a caller says of a campaign: at its creation, and when it is changed."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from api import fields
from api.contents import (
    Data,
    ScheduledAt,
    Text,
    Title,
    check_expiry,
    check_local_time,
    check_schedule,
    content_of,
    earliest_instant,
)
from fanfare.db.campaigns import NewCampaign
from fanfare.entities import Campaign, Project, Timing
from fanfare.models import DeliveryMode, OnUnknown, PastPolicy
from fanfare.schedule import DeliveryWindow, known_timezones
from fanfare.segments.values import read_window

USER: Final = "user"

MOST_PER_MINUTE = 100_000_000
LEAST_LATENESS, MOST_LATENESS = timedelta(minutes=1), timedelta(days=30)

_CLOCK = re.compile("([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
}

WIN_BACK: Mapping[str, object] = {
    "name": "win-back-7d",
    "title": "Welcome back!",
    "body": "Your streak is waiting for you.",
    "data": {"screen": "home", "promo": "winback"},
    "segment_id": "seg_inactive_7d",
}
GOOD_MORNING: Mapping[str, object] = {
    "title": "Good morning!",
    "body": "Your daily puzzle is here.",
    "delivery_mode": "local_time",
    "local_date": "2027-04-20",
    "local_time": "09:00",
    "timezone_fallback": "Europe/Berlin",
    "past_policy": "skip",
    "rate_limit": 60000,
}
IN_THE_DAYTIME: Mapping[str, object] = {
    "title": "The sale is on",
    "body": "Until midnight.",
    "scheduled_at": "2027-04-20T06:00:00Z",
    "delivery_window": {"start": "09:00", "end": "21:00", "timezone": "user"},
    "max_lateness": "2h",
}
EXAMPLES: Sequence[Mapping[str, object]] = (
    {**WIN_BACK, "scheduled_at": "2027-04-20T09:00:00Z"},
    WIN_BACK,
    {"title": "Hello", "body": "Version 2 is here."},
    GOOD_MORNING,
    IN_THE_DAYTIME,
)


def _must_be_clock(value: object) -> object:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or _CLOCK.fullmatch(value) is None:
        raise ValueError("must be a wall-clock time such as 09:00, without an offset")
    return time.fromisoformat(value)


def _must_be_day(value: object) -> object:
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("must be a date such as 2027-04-20")
    return date.fromisoformat(value)


def _must_be_length(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    length = read_window(value) if isinstance(value, str) else None
    if length is None or not LEAST_LATENESS <= length <= MOST_LATENESS:
        raise ValueError('must be a length of time from "1m" to "30d"; units m, h, d, w')
    return length


def _must_be_user_or_zone(name: str) -> str:
    # One check instead of a union's two: pydantic would tell the faults of both, under paths that
    # no body has.
    if name != USER and name not in known_timezones():
        raise ValueError(f"must be `{USER}`, or an IANA time zone that this system knows")
    return name


def length_text(length: timedelta) -> str:
    """A length as callers write it, in the largest unit that divides it: "90m", "1h"."""
    unit = next(unit for unit, size in _UNITS.items() if not length % size)
    return f"{length // _UNITS[unit]}{unit}"


def _clock_text(at: time) -> str:
    return at.isoformat("seconds" if at.second else "minutes")


Clock = Annotated[
    time,
    BeforeValidator(_must_be_clock),
    PlainSerializer(_clock_text, return_type=str),
    Field(json_schema_extra={"type": "string", "format": None}, examples=["09:00"]),
]
Day = Annotated[date, BeforeValidator(_must_be_day), Field(examples=["2027-04-20"])]
Length = Annotated[
    timedelta,
    BeforeValidator(_must_be_length),
    PlainSerializer(length_text, return_type=str),
    Field(json_schema_extra={"type": "string", "format": None}, examples=["1h"]),
]
# Strict: else `true` would be one message a minute.
RateLimit = Annotated[int, Field(strict=True, ge=1, le=MOST_PER_MINUTE)]
SegmentId = Annotated[str, Field(max_length=64)]


class WindowBody(fields.Body):
    """The hours in which messages may go out. One that ends before it starts is over midnight."""

    start: Clock
    end: Clock = Field(description="Exclusive.")
    timezone: Annotated[str, AfterValidator(_must_be_user_or_zone)] = Field(
        description="`user` for each user's own zone, or an IANA name for one clock for all.",
        examples=[USER, "Europe/Berlin"],
    )

    @model_validator(mode="after")
    def _is_some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end must differ")
        return self

    @classmethod
    def of(cls, window: DeliveryWindow | None) -> "WindowBody | None":
        """A campaign's window as it is answered."""
        if window is None:
            return None
        # Stored values were checked when they were written; a zone may be unknown by now.
        return cls.model_construct(
            start=window.start, end=window.end, timezone=window.timezone or USER
        )

    def window(self) -> DeliveryWindow:
        """As the rules of time take it."""
        zone = None if self.timezone == USER else self.timezone
        return DeliveryWindow(self.start, self.end, zone)


class CampaignBody(fields.Body):
    title: Title
    body: Text
    # As long as a title, which it is where nobody gives one.
    name: Title | None = Field(default=None, description="Defaults to the title.")
    data: Data = Field(default_factory=dict)
    segment_id: SegmentId | None = Field(
        default=None, description="Absent: every active device of the project."
    )
    scheduled_at: ScheduledAt = None
    delivery_mode: DeliveryMode = Field(
        default=DeliveryMode.INSTANT,
        description="`instant`: to everyone at `scheduled_at`, or when it is sent by hand. "
        "`local_time`: to each user when the clock in the user's zone shows `local_time` on "
        "`local_date`. A time that a clock change skips is the first moment after the gap; one "
        "that occurs twice is its first occurrence.",
    )
    local_date: Day | None = Field(
        default=None, description="With `local_time`. At most five years ahead."
    )
    local_time: Clock | None = Field(
        default=None, description="With `local_date`, and without an offset. Seconds may follow."
    )
    timezone_fallback: fields.Timezone | None = Field(
        default=None, description="For users without a zone. Defaults to the project's."
    )
    past_policy: PastPolicy = Field(
        default=PastPolicy.SKIP,
        description="For users in whose zone the local time had passed when the campaign was "
        "scheduled: `skip` them, counted as skipped for the reason `past`, or `send_now`.",
    )
    delivery_window: WindowBody | None = Field(
        default=None, description="What falls outside is held until the window opens."
    )
    max_lateness: Length = Field(
        default=timedelta(hours=1),
        description="A campaign that cannot begin within this of its time fails as "
        "MISSED_SCHEDULE. In local time, a zone that is later than this is past. From `1m` to "
        "`30d`; units m, h, d, w.",
        # By itself, pydantic would describe the default as it writes lengths: PT1H.
        json_schema_extra={"type": "string", "format": None, "default": "1h"},
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="Messages per minute, of all workers together. Null: no limit."
    )
    expires_at: fields.Instant | None = Field(
        default=None, description="Nothing is sent after it, and phones show nothing after it."
    )
    on_unknown: OnUnknown = Field(
        default=OnUnknown.RESEND,
        description="What becomes of messages whose outcome a crash or time-out left unknown: "
        "`resend` once more, flagged as possible duplicates, or `skip` and record `unknown`.",
    )

    @model_validator(mode="after")
    def _says_one_time(self) -> Self:
        is_local = self.delivery_mode is DeliveryMode.LOCAL_TIME
        if is_local and (self.local_date is None or self.local_time is None):
            raise ValueError("delivery_mode local_time needs local_date and local_time")
        if is_local and self.scheduled_at is not None:
            raise ValueError("delivery_mode local_time takes no scheduled_at")
        if not is_local and (self.local_date, self.local_time) != (None, None):
            raise ValueError("local_date and local_time need delivery_mode local_time")
        return self

    @classmethod
    def of(cls, campaign: Campaign) -> "CampaignBody":
        """What would create the campaign as it is."""
        timing = campaign.timing
        # Stored values were checked when they were written.
        return cls.model_construct(
            title=campaign.content.title,
            body=campaign.content.body,
            name=campaign.name,
            data=dict(campaign.content.data),
            segment_id=campaign.segment_id,
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
        )

    def checked(self, project: Project, now: datetime) -> NewCampaign:
        """What is to be stored, with its time still ahead. Raises what `contents` raises."""
        self.check_time(now)
        self.check_end(now)
        return self.stored(project)

    def check_time(self, now: datetime) -> None:
        """Raises ScheduledAtInPast or InvalidScheduledAt where its time is not ahead."""
        check_schedule(self.scheduled_at, now)
        if self.local_date is not None and self.local_time is not None:
            check_local_time(self.local_date, self.local_time, now)

    def check_end(self, now: datetime) -> None:
        """Raises InvalidInput where it would expire before it begins."""
        begins_at = self.scheduled_at or now
        if self.local_date is not None and self.local_time is not None:
            begins_at = earliest_instant(self.local_date, self.local_time)
        check_expiry(self.expires_at, max(begins_at, now))

    def stored(self, project: Project) -> NewCampaign:
        """What is to be stored, whenever its time is. Raises what `contents.content_of` raises."""
        return NewCampaign(
            name=self.name or self.title,
            content=content_of(self.title, self.body, self.data),
            segment_id=self.segment_id,
            timing=self._timing(project),
            rate_limit=self.rate_limit,
            expires_at=self.expires_at,
            on_unknown=self.on_unknown,
        )

    def _timing(self, project: Project) -> Timing:
        window = self.delivery_window
        return Timing(
            scheduled_at=self.scheduled_at,
            delivery_mode=self.delivery_mode,
            local_date=self.local_date,
            local_time=self.local_time,
            timezone_fallback=self.timezone_fallback or project.timezone,
            past_policy=self.past_policy,
            window=None if window is None else window.window(),
            max_lateness=self.max_lateness,
        )
