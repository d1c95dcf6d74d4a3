"""What a campaign would do: to how many, when, and for how long."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfare import pacing
from fanfare.entities import Limits, Timing
from fanfare.forecasts import (
    AudienceCounts,
    Buckets,
    DeviceCount,
    duration_of,
    expect,
    forecast,
)
from fanfare.models import DeliveryMode, Lane, PastPolicy, Platform, SkipReason
from fanfare.schedule import DeliveryWindow

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALL_LANES = frozenset(Lane)
AT_NOON = Timing(
    delivery_mode=DeliveryMode.LOCAL_TIME,
    local_date=date(2026, 6, 1),
    local_time=time(12),
    timezone_fallback="America/New_York",
)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def _in_zones(**devices: int) -> AudienceCounts:
    counts = [
        DeviceCount(Lane.FCM, Platform.ANDROID, zone.replace("__", "/"), amount)
        for zone, amount in devices.items()
    ]
    return AudienceCounts(100, 0, counts)


def _moved(counts: AudienceCounts, zone: str | None) -> AudienceCounts:
    """All of them into one zone."""
    devices = [DeviceCount(each.lane, each.platform, zone, each.devices) for each in counts.devices]
    return AudienceCounts(counts.users, counts.users_without_device, devices)


EVERYWHERE = _in_zones(Asia__Tokyo=1, Europe__Berlin=20, America__New_York=300)


def test_all_are_sent_to_at_once_where_nothing_else_is_said() -> None:
    found = forecast(EVERYWHERE, Timing(), ALL_LANES, armed_at=NOON)

    assert found.to_send == {Lane.FCM: 321}
    assert (found.skipped, found.buckets) == ({}, None)


def test_lanes_without_a_credential_are_skipped() -> None:
    counts = AudienceCounts(
        3,
        0,
        [
            DeviceCount(Lane.APNS, Platform.IOS, None, 5),
            DeviceCount(Lane.APNS_SANDBOX, Platform.IOS, None, 7),
            DeviceCount(Lane.FCM, Platform.IOS, None, 11),
        ],
    )

    found = forecast(counts, Timing(), {Lane.FCM, Lane.APNS}, armed_at=NOON)

    assert found.to_send == {Lane.FCM: 11, Lane.APNS: 5}
    assert found.skipped == {SkipReason.NO_CREDENTIAL: 7}
    assert found.sends == 16


def test_zones_whose_time_has_passed_are_skipped() -> None:
    found = forecast(EVERYWHERE, AT_NOON, ALL_LANES, armed_at=NOON)

    assert found.to_send == {Lane.FCM: 300}
    assert found.skipped == {SkipReason.PAST: 21}
    assert found.buckets == Buckets(1, NOON + timedelta(hours=4), NOON + timedelta(hours=4))


def test_zones_whose_time_has_passed_are_sent_to_at_once() -> None:
    timing = Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=date(2026, 6, 1),
        local_time=time(12),
        past_policy=PastPolicy.SEND_NOW,
    )

    found = forecast(EVERYWHERE, timing, ALL_LANES, armed_at=NOON)

    assert found.to_send == {Lane.FCM: 321}
    assert found.buckets == Buckets(2, NOON, NOON + timedelta(hours=4))


@pytest.mark.parametrize("zone", [None, "Nowhere/At_All"])
def test_users_without_a_zone_go_by_the_fallback(zone: str | None) -> None:
    found = forecast(_moved(EVERYWHERE, zone), AT_NOON, ALL_LANES, armed_at=NOON)

    assert found.to_send == {Lane.FCM: 321}
    assert found.buckets == Buckets(1, NOON + timedelta(hours=4), NOON + timedelta(hours=4))


def test_a_bucket_that_comes_after_the_end_is_expired() -> None:
    ends_at = NOON + timedelta(hours=1)
    window = DeliveryWindow(time(9), time(18), None)

    found = forecast(
        EVERYWHERE, Timing(window=window), ALL_LANES, armed_at=NOON, expires_at=ends_at
    )

    # In Tokyo it is nine in the evening.
    assert found.to_send == {Lane.FCM: 20}
    assert found.skipped == {SkipReason.EXPIRED: 301}
    assert found.buckets == Buckets(1, NOON, NOON)


def test_a_window_on_one_clock_makes_one_bucket() -> None:
    window = DeliveryWindow(time(20), time(21), "UTC")

    found = forecast(EVERYWHERE, Timing(window=window), ALL_LANES, armed_at=NOON)

    opens_at = NOON + timedelta(hours=8)
    assert found.to_send == {Lane.FCM: 321}
    assert found.buckets == Buckets(1, opens_at, opens_at)


def test_nothing_limits_a_campaign_without_limits() -> None:
    unlimited = Limits(messages_per_minute=None)

    found = expect({Lane.FCM: 100}, {Lane.FCM: unlimited}, campaign_rate=None, project_rate=None)

    assert found is None


@pytest.mark.parametrize(
    ("campaign_rate", "project_rate", "limited_by", "minutes"),
    [
        (None, None, "apns credential", 30),
        (10, None, "campaign", 50),
        (25, 10, "project", 50),
        (10, 5, "project", 100),
        (100, 100, "apns credential", 30),
    ],
)
def test_the_slowest_limit_says_how_long_it_takes(
    campaign_rate: int | None, project_rate: int | None, limited_by: str, minutes: int
) -> None:
    to_send: Mapping[Lane, int] = {Lane.APNS: 300, Lane.FCM: 200}
    limits = {
        Lane.APNS: Limits(messages_per_minute=10, ramp_seconds=0),
        Lane.FCM: Limits(messages_per_minute=100, ramp_seconds=0),
    }

    found = expect(to_send, limits, campaign_rate=campaign_rate, project_rate=project_rate)

    assert found is not None
    assert (found.limited_by, found.duration) == (limited_by, minutes * MINUTE)


def test_a_campaigns_rate_rises_as_a_credentials_does() -> None:
    rate = 60_000

    found = expect(
        {Lane.FCM: rate}, {Lane.FCM: Limits(None)}, campaign_rate=rate, project_rate=None
    )

    assert found is not None
    assert found.duration == duration_of(rate, rate, MINUTE) > MINUTE


def test_the_lowest_rate_is_named_where_there_is_nothing_to_send() -> None:
    found = expect({}, {}, campaign_rate=5, project_rate=3)

    assert found is not None
    assert (found.duration, found.messages_per_minute) == (timedelta(0), 3)


@given(
    rate=st.integers(600, 1_000_000),
    ramp_seconds=st.integers(0, 300),
    share=st.floats(0.01, 5),
)
def test_messages_take_as_long_as_they_are_admitted(
    rate: int, ramp_seconds: int, share: float
) -> None:
    count = int(rate * share)
    portion = 1 + count // 1_000

    expected = duration_of(count, rate, timedelta(seconds=ramp_seconds))

    admitted = _admitted(Limits(rate, ramp_seconds), count, portion)
    assert expected == pytest.approx(admitted, abs=SECOND + admitted / 50)


def _admitted(limits: Limits, count: int, portion: int) -> timedelta:
    """When the last of `count` messages may go, in portions, from a standing start."""
    state = pacing.begin(NOON)
    for _ in range(count // portion):
        state, _at = pacing.admit(state, limits, max(NOON, state.next_at), portion)
    return state.next_at - NOON
