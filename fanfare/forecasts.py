"""What a campaign would do if it went out: to how many devices, when, and for how long. Pure."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import starmap

from fanfare.entities import Limits, Timing
from fanfare.models import Lane, Platform, SkipReason
from fanfare.pacing import MINUTE, RAMP_FLOOR
from fanfare.rates import limits_of
from fanfare.schedule import PlannedBucket, known_timezones
from fanfare.turns import turns_of


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """So many devices have these in common. `timezone` is their users', None where they name none
    or where it does not matter."""

    lane: Lane
    platform: Platform
    timezone: str | None
    devices: int


@dataclass(frozen=True, slots=True)
class AudienceCounts:
    """Whom a rule selects now. `devices`: the active ones of these users, no two alike."""

    users: int
    users_without_device: int
    devices: Sequence[DeviceCount]


@dataclass(frozen=True, slots=True)
class Buckets:
    """At how many moments a campaign goes out, and the first and the last of them."""

    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class AudienceForecast:
    """What becomes of an audience. Every device is in `to_send` or in `skipped`, once.

    `buckets` is None for a campaign that goes out at one moment, and where nobody is left to send
    to.
    """

    audience: AudienceCounts
    to_send: Mapping[Lane, int]
    skipped: Mapping[SkipReason, int]
    buckets: Buckets | None

    @property
    def sends(self) -> int:
        """To how many devices it goes out."""
        return sum(self.to_send.values())


@dataclass(frozen=True, slots=True)
class Expectation:
    """How long it takes, and the limit that makes it so: its messages per minute and its name."""

    duration: timedelta
    messages_per_minute: int
    limited_by: str


def forecast(
    audience: AudienceCounts,
    timing: Timing,
    credentials: Collection[Lane],
    *,
    armed_at: datetime,
    expires_at: datetime | None = None,
) -> AudienceForecast:
    """What becomes of an audience if the campaign is sent, or was scheduled, at `armed_at`.

    Lanes that are not among `credentials` are skipped. A zone that no clock here knows counts as
    none. May raise OverflowError, as `schedule` does.
    """
    plan = _plan(audience, timing, armed_at)
    fires_at = _fires_at(plan, timing.scheduled_at or armed_at)
    to_send: Counter[Lane] = Counter()
    skipped: Counter[SkipReason] = Counter()
    for each in audience.devices:
        fires = fires_at.get(zone_of(each.timezone, timing), fires_at.get(None))
        reason = _why_skipped(each.lane in credentials, fires, expires_at)
        if reason is None:
            to_send[each.lane] += each.devices
        else:
            skipped[reason] += each.devices
    return AudienceForecast(audience, to_send, skipped, _buckets(plan, expires_at))


def zone_of(timezone: str | None, timing: Timing) -> str:
    """By which zone's clock a user gets the campaign."""
    is_known = timezone is not None and timezone in known_timezones()
    return timezone if timezone is not None and is_known else timing.timezone_fallback


def expect(
    to_send: Mapping[Lane, int],
    credentials: Mapping[Lane, Limits],
    *,
    campaign_rate: int | None,
    project_rate: int | None,
) -> Expectation | None:
    """The slowest of the limits, from a standing start; None where nothing limits the rate.

    Without what else may share a limit, the waits between buckets, and what the network takes.
    """
    total = sum(to_send.values())
    limits = [(f"{lane} credential", credentials[lane], count) for lane, count in to_send.items()]
    own = {"campaign": campaign_rate, "project": project_rate}
    limits += [(name, limits_of(rate), total) for name, rate in own.items() if rate is not None]
    known = [each for each in starmap(_under, limits) if each is not None]
    # Where all take equally long there is nothing to send, and the lowest rate says most.
    return max(known, key=lambda each: (each.duration, -each.messages_per_minute), default=None)


def duration_of(count: int, messages_per_minute: int, ramp: timedelta) -> timedelta:
    """How long so many messages take at a rate that rises from RAMP_FLOOR as `pacing.admit` has it.

    That is the area under the rate: a straight line up to the end of the ramp, level after it.
    """
    needed = count / messages_per_minute * MINUTE
    during_ramp = ramp * (1 + RAMP_FLOOR) / 2
    if needed >= during_ramp:
        return ramp + needed - during_ramp
    slope = 1 - RAMP_FLOOR
    return ramp * ((math.sqrt(RAMP_FLOOR**2 + 2 * slope * (needed / ramp)) - RAMP_FLOOR) / slope)


def _under(name: str, limits: Limits, count: int) -> Expectation | None:
    rate = limits.messages_per_minute
    if rate is None:
        return None
    ramp = timedelta(seconds=limits.ramp_seconds)
    return Expectation(duration_of(count, rate, ramp), rate, name)


def _plan(
    audience: AudienceCounts, timing: Timing, armed_at: datetime
) -> Sequence[PlannedBucket] | None:
    """The buckets that have a device in them; None where all go out at one moment, whenever."""
    if not timing.is_bucketed:
        return None
    zones = {zone_of(each.timezone, timing) for each in audience.devices}
    return turns_of(timing, zones, armed_at=armed_at)


def _fires_at(plan: Sequence[PlannedBucket] | None, at: datetime) -> Mapping[str | None, datetime]:
    """When each zone's time comes, `at` where there is no plan; None stands for everybody."""
    if plan is None:
        return {None: at}
    return {
        zone: bucket.fires_at
        for bucket in plan
        for zone in (bucket.timezones if bucket.timezones is not None else [None])
    }


def _why_skipped(
    has_credential: bool, fires_at: datetime | None, expires_at: datetime | None
) -> SkipReason | None:
    if fires_at is None:
        return SkipReason.PAST
    if expires_at is not None and fires_at >= expires_at:
        return SkipReason.EXPIRED
    return None if has_credential else SkipReason.NO_CREDENTIAL


def _buckets(plan: Sequence[PlannedBucket] | None, expires_at: datetime | None) -> Buckets | None:
    moments = [
        bucket.fires_at
        for bucket in plan or ()
        if expires_at is None or bucket.fires_at < expires_at
    ]
    return Buckets(len(moments), moments[0], moments[-1]) if moments else None
