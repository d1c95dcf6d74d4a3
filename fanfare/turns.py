"""Whose turn it is when: a campaign's timing, read for some time zones."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from fanfare.entities import Timing
from fanfare.models import DeliveryMode, PastPolicy
from fanfare.schedule import PlannedBucket, plan_at_instant, plan_at_local_time


def turns_of(
    timing: Timing, zones: Iterable[str], *, armed_at: datetime
) -> Sequence[PlannedBucket]:
    """The buckets of a campaign as if none had fired; none without a window or a local time.

    `armed_at`: since when it is meant to go out. In local time, what was past then is left out, or
    fires then where the campaign says `send_now`.
    """
    if timing.delivery_mode is DeliveryMode.LOCAL_TIME:
        return _in_local_time(timing, zones, armed_at)
    if timing.window is None:
        return []
    at = max(armed_at, timing.scheduled_at or armed_at)
    return plan_at_instant(at, timing.window, zones)


def _in_local_time(
    timing: Timing, zones: Iterable[str], armed_at: datetime
) -> Sequence[PlannedBucket]:
    assert timing.local_date is not None
    assert timing.local_time is not None
    return plan_at_local_time(
        timing.local_date,
        timing.local_time,
        timing.window,
        zones,
        armed_at=armed_at,
        send_past=timing.past_policy is PastPolicy.SEND_NOW,
    )
