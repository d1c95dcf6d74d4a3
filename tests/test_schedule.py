"""Schedules: what reaches whom when, across clock changes of every kind.

The moments expected here were worked out by hand from the zones' rules. In 2027 clocks change in
New York at 2 h on 14 March and 7 November, in Berlin and London at 1 h UTC on 28 March and
31 October, in Sydney at 2 h standard time on 4 April and 3 October, and on Lord Howe, by half an
hour, at 2 h on the same days. Kathmandu is always 5:45 h ahead.
"""

import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fanfare.schedule import (
    DeliveryWindow,
    Interval,
    PlannedBucket,
    common_interval,
    instant_of,
    interval_from,
    known_timezones,
    last_instant,
    plan_at_instant,
    plan_at_local_time,
)

BERLIN = ZoneInfo("Europe/Berlin")
APIA = ZoneInfo("Pacific/Apia")
DAYTIME = DeliveryWindow(time(9), time(21), None)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MIDSUMMER = date(2027, 7, 1)
SPREAD = ("Europe/Paris", "America/New_York", "Europe/London", "Europe/Berlin")

days = st.dates(date(1990, 1, 1), date(2037, 12, 31))
times = st.times()
moments = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
zones = st.sampled_from(sorted(known_timezones())).map(ZoneInfo)
windows = st.builds(DeliveryWindow, times, times, st.none()).filter(
    lambda window: window.start != window.end
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def interval(opens_at: str, closes_at: str) -> Interval:
    return Interval(utc(opens_at), utc(closes_at))


def window(start: str, end: str, zone: str | None = None) -> DeliveryWindow:
    return DeliveryWindow(time.fromisoformat(start), time.fromisoformat(end), zone)


def bucket(fires_at: str, closes_at: str | None, *names: str) -> PlannedBucket:
    return PlannedBucket(utc(fires_at), utc(closes_at) if closes_at else None, names)


def shown(instant: datetime, zone: tzinfo) -> datetime:
    """What clocks in the zone show."""
    return instant.astimezone(zone).replace(tzinfo=None)


def is_within(at: time, hours: DeliveryWindow) -> bool:
    if hours.start < hours.end:
        return hours.start <= at < hours.end
    return at >= hours.start or at < hours.end


class TestInstantOf:
    @pytest.mark.parametrize(
        ("zone", "wall", "instant"),
        [
            # The day before the gap, the gap of 2:00 to 3:00, and the day after.
            ("America/New_York", "2027-03-13T02:30", "2027-03-13T07:30"),
            ("America/New_York", "2027-03-14T01:30", "2027-03-14T06:30"),
            ("America/New_York", "2027-03-14T01:59:59", "2027-03-14T06:59:59"),
            ("America/New_York", "2027-03-14T02:00", "2027-03-14T07:00"),
            ("America/New_York", "2027-03-14T02:15", "2027-03-14T07:00"),
            ("America/New_York", "2027-03-14T02:30", "2027-03-14T07:00"),
            ("America/New_York", "2027-03-14T02:59:59.999999", "2027-03-14T07:00"),
            ("America/New_York", "2027-03-14T03:00", "2027-03-14T07:00"),
            ("America/New_York", "2027-03-14T09:00", "2027-03-14T13:00"),
            ("America/New_York", "2027-03-15T02:30", "2027-03-15T06:30"),
            # The hour from 1:00 to 2:00 comes twice.
            ("America/New_York", "2027-11-06T01:30", "2027-11-06T05:30"),
            ("America/New_York", "2027-11-07T01:00", "2027-11-07T05:00"),
            ("America/New_York", "2027-11-07T01:30", "2027-11-07T05:30"),
            ("America/New_York", "2027-11-07T02:00", "2027-11-07T07:00"),
            ("America/New_York", "2027-11-07T02:30", "2027-11-07T07:30"),
            ("America/New_York", "2027-11-07T09:00", "2027-11-07T14:00"),
            ("America/New_York", "2027-11-08T01:30", "2027-11-08T06:30"),
            # The gap of 2:00 to 3:00.
            ("Europe/Berlin", "2027-03-27T02:30", "2027-03-27T01:30"),
            ("Europe/Berlin", "2027-03-28T01:30", "2027-03-28T00:30"),
            ("Europe/Berlin", "2027-03-28T02:15", "2027-03-28T01:00"),
            ("Europe/Berlin", "2027-03-28T02:30", "2027-03-28T01:00"),
            ("Europe/Berlin", "2027-03-28T09:00", "2027-03-28T07:00"),
            ("Europe/Berlin", "2027-03-29T02:30", "2027-03-29T00:30"),
            # The hour from 2:00 to 3:00 comes twice.
            ("Europe/Berlin", "2027-10-30T02:30", "2027-10-30T00:30"),
            ("Europe/Berlin", "2027-10-31T01:30", "2027-10-30T23:30"),
            ("Europe/Berlin", "2027-10-31T02:15", "2027-10-31T00:15"),
            ("Europe/Berlin", "2027-10-31T02:30", "2027-10-31T00:30"),
            ("Europe/Berlin", "2027-10-31T03:00", "2027-10-31T02:00"),
            ("Europe/Berlin", "2027-10-31T09:00", "2027-10-31T08:00"),
            ("Europe/Berlin", "2027-11-01T02:30", "2027-11-01T01:30"),
            # The gap of 1:00 to 2:00.
            ("Europe/London", "2027-03-27T01:30", "2027-03-27T01:30"),
            ("Europe/London", "2027-03-28T01:30", "2027-03-28T01:00"),
            ("Europe/London", "2027-03-28T02:15", "2027-03-28T01:15"),
            ("Europe/London", "2027-03-28T02:30", "2027-03-28T01:30"),
            ("Europe/London", "2027-03-28T09:00", "2027-03-28T08:00"),
            ("Europe/London", "2027-03-29T01:30", "2027-03-29T00:30"),
            # The hour from 1:00 to 2:00 comes twice.
            ("Europe/London", "2027-10-30T01:30", "2027-10-30T00:30"),
            ("Europe/London", "2027-10-31T01:30", "2027-10-31T00:30"),
            ("Europe/London", "2027-10-31T02:15", "2027-10-31T02:15"),
            ("Europe/London", "2027-10-31T02:30", "2027-10-31T02:30"),
            ("Europe/London", "2027-10-31T09:00", "2027-10-31T09:00"),
            ("Europe/London", "2027-11-01T01:30", "2027-11-01T01:30"),
            # The hour from 2:00 to 3:00 comes twice, in April.
            ("Australia/Sydney", "2027-04-03T02:30", "2027-04-02T15:30"),
            ("Australia/Sydney", "2027-04-04T01:30", "2027-04-03T14:30"),
            ("Australia/Sydney", "2027-04-04T02:15", "2027-04-03T15:15"),
            ("Australia/Sydney", "2027-04-04T02:30", "2027-04-03T15:30"),
            ("Australia/Sydney", "2027-04-04T03:00", "2027-04-03T17:00"),
            ("Australia/Sydney", "2027-04-04T09:00", "2027-04-03T23:00"),
            ("Australia/Sydney", "2027-04-05T02:30", "2027-04-04T16:30"),
            # The gap of 2:00 to 3:00, in October.
            ("Australia/Sydney", "2027-10-02T02:30", "2027-10-01T16:30"),
            ("Australia/Sydney", "2027-10-03T01:30", "2027-10-02T15:30"),
            ("Australia/Sydney", "2027-10-03T02:15", "2027-10-02T16:00"),
            ("Australia/Sydney", "2027-10-03T02:30", "2027-10-02T16:00"),
            ("Australia/Sydney", "2027-10-03T09:00", "2027-10-02T22:00"),
            ("Australia/Sydney", "2027-10-04T02:30", "2027-10-03T15:30"),
            # The half hour from 1:30 to 2:00 comes twice.
            ("Australia/Lord_Howe", "2027-04-03T01:30", "2027-04-02T14:30"),
            ("Australia/Lord_Howe", "2027-04-04T01:15", "2027-04-03T14:15"),
            ("Australia/Lord_Howe", "2027-04-04T01:30", "2027-04-03T14:30"),
            ("Australia/Lord_Howe", "2027-04-04T01:45", "2027-04-03T14:45"),
            ("Australia/Lord_Howe", "2027-04-04T02:00", "2027-04-03T15:30"),
            ("Australia/Lord_Howe", "2027-04-04T02:15", "2027-04-03T15:45"),
            ("Australia/Lord_Howe", "2027-04-04T02:30", "2027-04-03T16:00"),
            ("Australia/Lord_Howe", "2027-04-04T09:00", "2027-04-03T22:30"),
            ("Australia/Lord_Howe", "2027-04-05T01:30", "2027-04-04T15:00"),
            # The gap of 2:00 to 2:30.
            ("Australia/Lord_Howe", "2027-10-02T02:15", "2027-10-01T15:45"),
            ("Australia/Lord_Howe", "2027-10-03T01:30", "2027-10-02T15:00"),
            ("Australia/Lord_Howe", "2027-10-03T02:15", "2027-10-02T15:30"),
            ("Australia/Lord_Howe", "2027-10-03T02:30", "2027-10-02T15:30"),
            ("Australia/Lord_Howe", "2027-10-03T09:00", "2027-10-02T22:00"),
            ("Australia/Lord_Howe", "2027-10-04T02:15", "2027-10-03T15:15"),
            # No clock change at all.
            ("Asia/Kathmandu", "2027-03-14T09:00", "2027-03-14T03:15"),
            ("Asia/Kathmandu", "2027-03-28T02:30", "2027-03-27T20:45"),
            ("Asia/Kathmandu", "2027-10-31T01:30", "2027-10-30T19:45"),
            ("Asia/Kathmandu", "2027-11-07T02:15", "2027-11-06T20:30"),
            # Samoa crossed the date line: from 10 h behind to 14 h ahead, without 30 December.
            ("Pacific/Apia", "2011-12-29T23:30", "2011-12-30T09:30"),
            ("Pacific/Apia", "2011-12-30T00:00", "2011-12-30T10:00"),
            ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00"),
            ("Pacific/Apia", "2011-12-30T23:59:59", "2011-12-30T10:00"),
            ("Pacific/Apia", "2011-12-31T00:00", "2011-12-30T10:00"),
            ("Pacific/Apia", "2011-12-31T09:00", "2011-12-30T19:00"),
        ],
    )
    def test_clock_changes_skip_to_the_end_of_the_gap_and_take_the_first_occurrence(
        self, zone: str, wall: str, instant: str
    ) -> None:
        local = datetime.fromisoformat(wall)

        found = instant_of(local.date(), local.time(), ZoneInfo(zone))

        assert (found, found.tzinfo) == (utc(instant), UTC)

    def test_zones_of_a_fixed_offset_will_do(self) -> None:
        found = instant_of(MIDSUMMER, time(9), timezone(timedelta(hours=-4)))

        assert found == utc("2027-07-01T13:00")

    def test_fold_of_the_time_says_nothing(self) -> None:
        found = instant_of(date(2027, 10, 31), time(2, 30, fold=1), BERLIN)

        assert found == utc("2027-10-31T00:30")

    @pytest.mark.parametrize("day", ["2026-12-31", "2027-03-28", "2027-07-01", "2027-10-31"])
    def test_every_known_zone_shows_the_time_that_was_asked_for(self, day: str) -> None:
        noon = datetime.combine(date.fromisoformat(day), time(12))

        found = {
            name: shown(instant_of(noon.date(), noon.time(), ZoneInfo(name)), ZoneInfo(name))
            for name in known_timezones()
        }

        assert found == dict.fromkeys(known_timezones(), noon)

    @given(zones, days, times, st.timedeltas(timedelta(microseconds=1), timedelta(days=2)))
    def test_clocks_never_showed_the_time_or_a_later_one_before(
        self, zone: ZoneInfo, day: date, at: time, before: timedelta
    ) -> None:
        wall = datetime.combine(day, at)

        found = instant_of(day, at, zone)

        assert shown(found - before, zone) < wall <= shown(found, zone)

    @given(zones, days, st.tuples(times, times).map(sorted))
    def test_later_times_never_come_first(
        self, zone: ZoneInfo, day: date, ordered: Sequence[time]
    ) -> None:
        earlier, later = (instant_of(day, at, zone) for at in ordered)

        assert earlier <= later


def test_last_instant_is_that_of_the_zone_furthest_behind() -> None:
    # Etc/GMT+12 is twelve hours behind.
    assert last_instant(date(2027, 1, 15), time(9)) == utc("2027-01-15T21:00")


class TestIntervalFrom:
    @pytest.mark.parametrize(
        ("hours", "at", "expected"),
        [
            pytest.param(
                window("09:00", "21:00"),
                "2027-01-15T06:00",
                interval("2027-01-15T08:00", "2027-01-15T20:00"),
                id="before",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-01-15T08:00",
                interval("2027-01-15T08:00", "2027-01-15T20:00"),
                id="as-it-opens",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-01-15T19:59:59.999999",
                interval("2027-01-15T08:00", "2027-01-15T20:00"),
                id="inside-at-its-end",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-01-15T20:00",
                interval("2027-01-16T08:00", "2027-01-16T20:00"),
                id="as-it-closes",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-01-15T23:30",
                interval("2027-01-16T08:00", "2027-01-16T20:00"),
                id="after-midnight-there",
            ),
            pytest.param(
                window("22:00", "06:00"),
                "2027-01-14T23:30",
                interval("2027-01-14T21:00", "2027-01-15T05:00"),
                id="over-midnight-inside",
            ),
            pytest.param(
                window("22:00", "06:00"),
                "2027-01-14T21:00",
                interval("2027-01-14T21:00", "2027-01-15T05:00"),
                id="over-midnight-as-it-opens",
            ),
            pytest.param(
                window("22:00", "06:00"),
                "2027-01-15T05:00",
                interval("2027-01-15T21:00", "2027-01-16T05:00"),
                id="over-midnight-as-it-closes",
            ),
            pytest.param(
                window("18:00", "00:00"),
                "2027-01-15T22:00",
                interval("2027-01-15T17:00", "2027-01-15T23:00"),
                id="until-midnight",
            ),
            pytest.param(
                window("02:30", "05:00"),
                "2027-03-28T00:00",
                interval("2027-03-28T01:00", "2027-03-28T03:00"),
                id="opens-in-the-gap",
            ),
            pytest.param(
                window("00:30", "02:30"),
                "2027-03-28T00:00",
                interval("2027-03-27T23:30", "2027-03-28T01:00"),
                id="closes-in-the-gap",
            ),
            pytest.param(
                window("22:00", "02:30"),
                "2027-03-28T00:00",
                interval("2027-03-27T21:00", "2027-03-28T01:00"),
                id="over-midnight-closes-in-the-gap",
            ),
            pytest.param(
                window("22:00", "06:00"),
                "2027-03-28T00:00",
                interval("2027-03-27T21:00", "2027-03-28T04:00"),
                id="an-hour-shorter",
            ),
            pytest.param(
                window("02:10", "02:40"),
                "2027-03-28T00:00",
                interval("2027-03-29T00:10", "2027-03-29T00:40"),
                id="emptied-by-the-gap",
            ),
            pytest.param(
                window("02:30", "05:00"),
                "2027-10-31T00:00",
                interval("2027-10-31T00:30", "2027-10-31T04:00"),
                id="opens-when-it-first-comes",
            ),
            pytest.param(
                window("00:30", "02:30"),
                "2027-10-31T00:00",
                interval("2027-10-30T22:30", "2027-10-31T00:30"),
                id="closes-when-it-first-comes",
            ),
            pytest.param(
                window("00:30", "02:30"),
                "2027-10-31T01:10",
                interval("2027-10-31T23:30", "2027-11-01T01:30"),
                id="stays-closed-when-the-hour-comes-again",
            ),
        ],
    )
    def test_berlin_has_the_interval_of_the_moment_or_else_the_next(
        self, hours: DeliveryWindow, at: str, expected: Interval
    ) -> None:
        assert interval_from(hours, BERLIN, utc(at)) == expected

    @pytest.mark.parametrize(
        ("hours", "expected"),
        [
            # At 23 h on 29 December, an hour before the day that Samoa left out.
            (window("09:00", "17:00"), interval("2011-12-30T19:00", "2011-12-31T03:00")),
            (window("22:00", "06:00"), interval("2011-12-30T08:00", "2011-12-30T10:00")),
        ],
    )
    def test_skipped_day_empties_or_cuts_an_interval(
        self, hours: DeliveryWindow, expected: Interval
    ) -> None:
        assert interval_from(hours, APIA, utc("2011-12-30T09:00")) == expected

    def test_moments_of_any_offset_mean_the_same(self) -> None:
        at = datetime(2027, 1, 15, 15, tzinfo=ZoneInfo("Asia/Kathmandu"))

        found = interval_from(DAYTIME, BERLIN, at)

        assert found == interval("2027-01-15T08:00", "2027-01-15T20:00")

    @given(windows, zones, moments)
    def test_intervals_open_within_the_window_and_close_after_the_moment(
        self, hours: DeliveryWindow, zone: ZoneInfo, at: datetime
    ) -> None:
        found = interval_from(hours, zone, at)

        assert found.closes_at > max(at, found.opens_at)
        assert is_within(shown(found.opens_at, zone).time(), hours)

    @given(windows, zones, moments, st.floats(0, 1, exclude_max=True))
    def test_what_lies_in_an_interval_lies_in_the_window(
        self, hours: DeliveryWindow, zone: ZoneInfo, at: datetime, share: float
    ) -> None:
        found = interval_from(hours, zone, at)
        # Without a clock change: one may bring hours again that are outside.
        assume(found.opens_at.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset())
        assume(found.closes_at.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset())

        inside = found.opens_at + share * (found.closes_at - found.opens_at)

        assert is_within(
            shown(min(inside, found.closes_at - datetime.resolution), zone).time(), hours
        )

    @given(windows, zones, moments)
    def test_moment_outside_the_window_waits_and_one_inside_does_not(
        self, hours: DeliveryWindow, zone: ZoneInfo, at: datetime
    ) -> None:
        offsets = {
            (at + timedelta(days=days)).astimezone(zone).utcoffset() for days in range(-2, 3)
        }
        assume(len(offsets) == 1)

        found = interval_from(hours, zone, at)

        assert (found.opens_at <= at) == is_within(shown(at, zone).time(), hours)

    @given(windows, zones, moments)
    def test_every_moment_of_an_interval_has_that_interval(
        self, hours: DeliveryWindow, zone: ZoneInfo, at: datetime
    ) -> None:
        found = interval_from(hours, zone, at)

        assert interval_from(hours, zone, found.opens_at) == found
        assert interval_from(hours, zone, found.closes_at - datetime.resolution) == found
        assert interval_from(hours, zone, found.closes_at).opens_at >= found.closes_at


class TestCommonInterval:
    # Both are an hour ahead in winter; in summer Berlin is two.
    @pytest.mark.parametrize(
        ("hours", "at", "expected"),
        [
            pytest.param(
                window("22:00", "06:00"),
                "2027-03-27T22:00",
                interval("2027-03-27T21:00", "2027-03-28T04:00"),
                id="parted-while-open",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-04-01T12:00",
                interval("2027-04-01T08:00", "2027-04-01T19:00"),
                id="open-everywhere",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-04-01T07:30",
                interval("2027-04-01T08:00", "2027-04-01T19:00"),
                id="open-in-one-only",
            ),
            pytest.param(
                window("09:00", "21:00"),
                "2027-04-01T19:30",
                interval("2027-04-02T08:00", "2027-04-02T19:00"),
                id="closed-in-one-already",
            ),
            pytest.param(
                window("09:00", "09:30"),
                "2027-04-01T06:00",
                interval("2027-04-01T08:00", "2027-04-01T08:30"),
                id="never-open-at-once",
            ),
            pytest.param(
                window("09:00", "21:00", "America/New_York"),
                "2027-04-01T06:00",
                interval("2027-04-01T13:00", "2027-04-02T01:00"),
                id="fixed-zone",
            ),
        ],
    )
    def test_lagos_and_berlin_are_open_at_once(
        self, hours: DeliveryWindow, at: str, expected: Interval
    ) -> None:
        assert common_interval(hours, ["Africa/Lagos", "Europe/Berlin"], utc(at)) == expected

    def test_unreadable_zones_are_left_out(self) -> None:
        found = common_interval(DAYTIME, ["Mars/Olympus", "Europe/Berlin"], utc("2027-01-15T06:00"))

        assert found == interval("2027-01-15T08:00", "2027-01-15T20:00")

    def test_no_readable_zone_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="readable"):
            common_interval(DAYTIME, ["Mars/Olympus"], utc("2027-01-15T06:00"))

    @given(windows, st.lists(zones.map(str), min_size=1, max_size=4), moments)
    def test_it_always_closes_after_the_moment(
        self, hours: DeliveryWindow, names: Sequence[str], at: datetime
    ) -> None:
        found = common_interval(hours, names, at)

        assert found.closes_at > max(at, found.opens_at)


class TestPlanAtInstant:
    def test_every_zone_fires_when_its_window_is_open(self) -> None:
        plan = plan_at_instant(utc("2027-01-15T12:00"), DAYTIME, [*SPREAD, "Asia/Tokyo"])

        assert plan == [
            bucket("2027-01-15T12:00", "2027-01-15T20:00", "Europe/Berlin", "Europe/Paris"),
            bucket("2027-01-15T12:00", "2027-01-15T21:00", "Europe/London"),
            bucket("2027-01-15T14:00", "2027-01-16T02:00", "America/New_York"),
            # It is 21 h there: the window has just closed.
            bucket("2027-01-16T00:00", "2027-01-16T12:00", "Asia/Tokyo"),
        ]

    def test_clock_change_parts_zones_that_open_at_once(self) -> None:
        plan = plan_at_instant(
            utc("2027-03-27T20:00"), window("22:00", "06:00"), ["Africa/Lagos", "Europe/Berlin"]
        )

        assert plan == [
            bucket("2027-03-27T21:00", "2027-03-28T04:00", "Europe/Berlin"),
            bucket("2027-03-27T21:00", "2027-03-28T05:00", "Africa/Lagos"),
        ]

    @pytest.mark.parametrize(
        ("at", "fires_at", "closes_at"),
        [
            ("2027-01-15T12:00", "2027-01-15T12:00", "2027-01-15T20:00"),
            ("2027-01-15T21:30", "2027-01-16T08:00", "2027-01-16T20:00"),
        ],
    )
    def test_window_of_one_zone_makes_one_bucket_of_everybody(
        self, at: str, fires_at: str, closes_at: str
    ) -> None:
        plan = plan_at_instant(utc(at), window("09:00", "21:00", "Europe/Berlin"), SPREAD)

        assert plan == [PlannedBucket(utc(fires_at), utc(closes_at), timezones=None)]

    def test_moments_come_back_in_utc(self) -> None:
        at = datetime(2027, 1, 15, 12, tzinfo=BERLIN)

        plan = plan_at_instant(at, DAYTIME, ["Europe/Berlin"])

        assert [planned.fires_at.tzinfo for planned in plan] == [UTC]

    # Six hundred zones each.
    @settings(max_examples=20)
    @given(windows, moments)
    def test_every_known_zone_is_in_one_bucket_that_fires_in_its_window(
        self, hours: DeliveryWindow, at: datetime
    ) -> None:
        plan = plan_at_instant(at, hours, known_timezones())

        planned = [name for planned in plan for name in planned.timezones or ()]
        assert sorted(planned) == sorted(known_timezones())
        assert all(at <= bucket.fires_at < (bucket.closes_at or at) for bucket in plan)


class TestPlanAtLocalTime:
    def test_zones_with_the_same_moment_share_a_bucket(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER, time(9), None, SPREAD, armed_at=LONG_AGO, send_past=False
        )

        assert plan == [
            bucket("2027-07-01T07:00", None, "Europe/Berlin", "Europe/Paris"),
            bucket("2027-07-01T08:00", None, "Europe/London"),
            bucket("2027-07-01T13:00", None, "America/New_York"),
        ]

    def test_past_zones_are_left_out(self) -> None:
        # In London it is the time at this very moment.
        plan = plan_at_local_time(
            MIDSUMMER, time(9), None, SPREAD, armed_at=utc("2027-07-01T08:00"), send_past=False
        )

        assert plan == [bucket("2027-07-01T13:00", None, "America/New_York")]

    def test_past_zones_fire_at_once_where_they_are_sent(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER, time(9), None, SPREAD, armed_at=utc("2027-07-01T10:30"), send_past=True
        )

        assert plan == [
            bucket("2027-07-01T10:30", None, "Europe/Berlin", "Europe/London", "Europe/Paris"),
            bucket("2027-07-01T13:00", None, "America/New_York"),
        ]

    def test_nothing_is_left_where_all_is_past(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER, time(9), None, SPREAD, armed_at=utc("2027-07-02T00:00"), send_past=False
        )

        assert plan == []

    def test_closed_window_moves_a_zone_on_to_its_opening(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER, time(22), DAYTIME, SPREAD, armed_at=LONG_AGO, send_past=False
        )

        assert plan == [
            bucket("2027-07-02T07:00", "2027-07-02T19:00", "Europe/Berlin", "Europe/Paris"),
            bucket("2027-07-02T08:00", "2027-07-02T20:00", "Europe/London"),
            bucket("2027-07-02T13:00", "2027-07-03T01:00", "America/New_York"),
        ]

    def test_past_zones_wait_for_their_window_too(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER,
            time(9),
            window("08:00", "12:00"),
            ["Europe/Berlin", "Europe/London"],
            armed_at=utc("2027-07-01T10:30"),
            send_past=True,
        )

        assert plan == [
            bucket("2027-07-01T10:30", "2027-07-01T11:00", "Europe/London"),
            bucket("2027-07-02T06:00", "2027-07-02T10:00", "Europe/Berlin"),
        ]

    def test_window_of_one_zone_moves_the_others_and_keeps_them_apart(self) -> None:
        plan = plan_at_local_time(
            MIDSUMMER,
            time(9),
            window("12:00", "18:00", "Europe/Berlin"),
            [*SPREAD, "America/Los_Angeles"],
            armed_at=LONG_AGO,
            send_past=False,
        )

        assert plan == [
            bucket(
                "2027-07-01T10:00",
                "2027-07-01T16:00",
                "Europe/Berlin",
                "Europe/London",
                "Europe/Paris",
            ),
            bucket("2027-07-01T13:00", "2027-07-01T16:00", "America/New_York"),
            bucket("2027-07-02T10:00", "2027-07-02T16:00", "America/Los_Angeles"),
        ]

    def test_skipped_time_fires_at_the_end_of_the_gap(self) -> None:
        plan = plan_at_local_time(
            date(2027, 3, 28),
            time(2, 30),
            None,
            ["Europe/Berlin", "Africa/Lagos", "Europe/London"],
            armed_at=LONG_AGO,
            send_past=False,
        )

        assert plan == [
            bucket("2027-03-28T01:00", None, "Europe/Berlin"),
            bucket("2027-03-28T01:30", None, "Africa/Lagos", "Europe/London"),
        ]


class TestUnreadableZones:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Path]:
        """A time-zone database that comes before the others."""
        before = zoneinfo.TZPATH
        zoneinfo.reset_tzpath([str(tmp_path), *before])
        yield tmp_path
        zoneinfo.reset_tzpath(before)

    @pytest.mark.parametrize(
        "name", ["Mars/Olympus", "", "Europe", "../Europe/Berlin", "/etc/hosts", "\0", "\ud800"]
    )
    def test_names_that_zoneinfo_does_not_know_are_left_out(self, name: str) -> None:
        plan = plan_at_local_time(
            MIDSUMMER, time(9), None, [name, "Europe/Berlin"], armed_at=LONG_AGO, send_past=False
        )

        assert plan == [bucket("2027-07-01T07:00", None, "Europe/Berlin")]

    @pytest.mark.parametrize(
        ("name", "content"),
        [("Broken/Empty", b""), ("Broken/Cut", b"TZif2"), ("Broken/Other", b"127.0.0.1 localhost")],
    )
    def test_broken_files_are_left_out(self, database: Path, name: str, content: bytes) -> None:
        file = database / name
        file.parent.mkdir()
        file.write_bytes(content)

        plan = plan_at_instant(utc("2027-01-15T12:00"), DAYTIME, [name, "Europe/Berlin"])

        assert plan == [bucket("2027-01-15T12:00", "2027-01-15T20:00", "Europe/Berlin")]


def test_known_timezones_are_those_of_zoneinfo() -> None:
    assert known_timezones() == zoneinfo.available_timezones() - {"localtime"}
