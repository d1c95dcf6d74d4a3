"""When a campaign reaches whom: wall-clock times, delivery windows, and the buckets they make.

No I/O but the time-zone database, and no clock: moments are passed in, aware, and come back in
UTC. One rule covers every clock change, in either direction and of any size: a wall-clock time
stands for the first moment at which clocks there show it or a later one. So a time that is skipped
is the end of the gap, one that occurs twice is its first occurrence, and of two times the later
one never comes first.

Within two days of either end of the calendar, everything here may raise OverflowError.
"""

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache, lru_cache
from itertools import count
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

DAY = timedelta(days=1)

# What zoneinfo lets through for a name that is unknown or malformed, and for a file that is cut
# short, is a folder, or may not be read.
UNREADABLE_ZONE = (ZoneInfoNotFoundError, ValueError, OSError, struct.error)


@dataclass(frozen=True, slots=True)
class DeliveryWindow:
    """The hours of the day in which messages may go out.

    `start` and `end` are wall-clock times, `end` exclusive; one that is not after `start` is on
    the next day. `timezone`: an IANA name, or None for each user's own.
    """

    start: time
    end: time
    timezone: str | None


@dataclass(frozen=True, slots=True)
class Interval:
    """One time that a window is open, in UTC; `closes_at` is exclusive, and after `opens_at`."""

    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedBucket:
    """Zones whose users get the message at the same moment and may get it equally long.

    `fires_at` is in UTC. `closes_at`: where the window interval that it fires in ends, or None
    without a window. `timezones`: sorted names, or None for everybody.
    """

    fires_at: datetime
    closes_at: datetime | None
    timezones: tuple[str, ...] | None


@cache
def known_timezones() -> frozenset[str]:
    """Every IANA name in the time-zone database. The first call walks its folders.

    Without `localtime`, which is the machine's own zone, and another on every machine.
    """
    return frozenset(available_timezones() - {"localtime"})


def instant_of(day: date, at: time, zone: tzinfo) -> datetime:
    """The first moment at which clocks in the zone show that time or a later one."""
    wall = datetime.combine(day, at, tzinfo=None)
    # Where the two readings of PEP 495 differ, they are the two occurrences, or enclose the gap.
    earlier, later = sorted(_reading(wall, zone, fold) for fold in (0, 1))
    if _shown(earlier, zone) == wall:
        return earlier
    return _end_of_gap(wall, zone, earlier.replace(microsecond=0), later)


def last_instant(day: date, at: time) -> datetime:
    """When that wall-clock time has come in every known zone."""
    return max(instant_of(day, at, zone) for _, zone in _readable(known_timezones()))


def interval_from(window: DeliveryWindow, zone: tzinfo, at: datetime) -> Interval:
    """The interval of the window that `at` lies in, else the next one.

    The window is read in `zone`, whatever its own. `closes_at` is always after `at`. A time that
    occurs twice ends an interval when it first comes, and begins it then. An interval that a clock
    change empties is left out.
    """
    # Before yesterday none is left: the clock has gone past the end of all of them.
    yesterday = at.astimezone(zone).date() - DAY
    intervals = (_interval_of(window, zone, yesterday + days * DAY) for days in count())
    return next(
        interval for interval in intervals if max(interval.opens_at, at) < interval.closes_at
    )


def common_interval(window: DeliveryWindow, zones: Sequence[str], at: datetime) -> Interval:
    """When the window is next open in all these zones at once; `closes_at` is after `at`.

    Zones that shared a bucket may part at a clock change. Where that leaves them no interval in
    common, today or on the day after, the first zone's counts. Raises ValueError where the window
    follows the users and none of the zones is readable.
    """
    if window.timezone is not None:
        return interval_from(window, ZoneInfo(window.timezone), at)
    intervals = _intervals_from(window, zones, at)
    if not intervals:
        raise ValueError("None of the bucket's time zones is readable")
    # Some may be open still while others have closed: then all look on from the latest opening.
    latest_opening = max(interval.opens_at for interval in intervals)
    return (
        _overlap(intervals)
        or _overlap(_intervals_from(window, zones, latest_opening))
        or intervals[0]
    )


def plan_at_instant(
    at: datetime, window: DeliveryWindow, zones: Iterable[str]
) -> Sequence[PlannedBucket]:
    """The buckets of a campaign for one moment: every zone's users when their window is open.

    Sorted by when they fire, then by when they close. A window in one fixed zone makes one bucket
    of everybody. Names that zoneinfo cannot open are left out.
    """
    if window.timezone is not None:
        fires_at, closes_at = _admitted(at, window, ZoneInfo(window.timezone))
        return [PlannedBucket(fires_at, closes_at, timezones=None)]
    return _buckets({name: _admitted(at, window, zone) for name, zone in _readable(zones)})


def plan_at_local_time(
    day: date,
    at: time,
    window: DeliveryWindow | None,
    zones: Iterable[str],
    *,
    armed_at: datetime,
    send_past: bool,
) -> Sequence[PlannedBucket]:
    """The buckets of a campaign for a wall-clock time: every zone's users when it comes to them.

    Where the window is closed then, they wait for its opening. Where the time is not after
    `armed_at` it is past: the zone is left out, or, with `send_past`, gets it at `armed_at`.
    Sorted by when they fire, then by when they close. Names that zoneinfo cannot open are left out.
    """
    wanted = {name: (instant_of(day, at, zone), zone) for name, zone in _readable(zones)}
    return _buckets(
        {
            name: _admitted(max(instant, armed_at), window, zone)
            for name, (instant, zone) in wanted.items()
            if send_past or instant > armed_at
        }
    )


def _reading(wall: datetime, zone: tzinfo, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _shown(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _end_of_gap(wall: datetime, zone: tzinfo, before: datetime, after: datetime) -> datetime:
    # Clocks change on whole seconds, and by half an hour or a whole day, too: the change itself
    # is looked for, since neither reading says how much of the gap lies after the time.
    seconds = range(int((after - before).total_seconds()) + 1)
    found = bisect_left(
        seconds, wall, key=lambda passed: _shown(before + timedelta(seconds=passed), zone)
    )
    return before + timedelta(seconds=found)


def _interval_of(window: DeliveryWindow, zone: tzinfo, day: date) -> Interval:
    """What opens on that day. Empty where a clock change skips all of it."""
    last_day = day if window.start < window.end else day + DAY
    return Interval(
        instant_of(day, window.start, zone),
        instant_of(last_day, window.end, zone),
    )


def _intervals_from(
    window: DeliveryWindow, zones: Iterable[str], at: datetime
) -> Sequence[Interval]:
    return [interval_from(window, zone, at) for _, zone in _readable(zones)]


def _overlap(intervals: Sequence[Interval]) -> Interval | None:
    opens_at = max(interval.opens_at for interval in intervals)
    closes_at = min(interval.closes_at for interval in intervals)
    return Interval(opens_at, closes_at) if opens_at < closes_at else None


def _admitted(
    at: datetime, window: DeliveryWindow | None, zone: ZoneInfo
) -> tuple[datetime, datetime | None]:
    """The first moment from `at` on that the window lets in, and how long it is open then."""
    if window is None:
        return at.astimezone(UTC), None
    read_in = zone if window.timezone is None else ZoneInfo(window.timezone)
    interval = interval_from(window, read_in, at)
    return max(at.astimezone(UTC), interval.opens_at), interval.closes_at


def _buckets(
    admitted: Mapping[str, tuple[datetime, datetime | None]],
) -> Sequence[PlannedBucket]:
    shared: defaultdict[tuple[datetime, datetime | None], list[str]] = defaultdict(list)
    for name, moments in admitted.items():
        shared[moments].append(name)
    buckets = [
        PlannedBucket(fires_at, closes_at, tuple(sorted(names)))
        for (fires_at, closes_at), names in shared.items()
    ]
    # Without a window no two fire at the same moment.
    return sorted(
        buckets, key=lambda bucket: (bucket.fires_at, bucket.closes_at or bucket.fires_at)
    )


def _readable(zones: Iterable[str]) -> Iterator[tuple[str, ZoneInfo]]:
    for name in zones:
        zone = _opened(name)
        if zone is not None:
            yield name, zone


# ZoneInfo itself keeps only the eight that were used last: it would read all files for each plan.
@lru_cache(maxsize=1024)
def _opened(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except UNREADABLE_ZONE:
        return None
