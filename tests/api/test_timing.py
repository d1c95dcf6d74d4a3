"""When a campaign goes out, as a caller says it: the bounds of each field, and what is stored."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api.campaignbodies import CampaignBody
from fanfare.db.engine import Database
from fanfare.schedule import known_timezones
from tests.api.campaigning import (
    AT,
    GOOD_MORNING,
    HELLO,
    Desk,
    Json,
    data_of,
    paths_of,
    result_of,
)
from tests.api.conftest import Tenant

WINDOW = {"start": "09:00", "end": "21:00", "timezone": "user"}


@pytest.fixture
def desk(tenant: Tenant, database: Database) -> Desk:
    return Desk(tenant, database)


def wall_clock(**before: float) -> Json:
    """What a clock of UTC showed so long ago, as a campaign in local time has it."""
    shown = datetime.now(UTC) - timedelta(**before)
    return {**GOOD_MORNING, "local_date": f"{shown:%F}", "local_time": f"{shown:%T}"}


@pytest.mark.parametrize(
    ("name", "given", "answered"),
    [
        ("max_lateness", "1m", "1m"),
        ("max_lateness", "60m", "1h"),
        ("max_lateness", "90m", "90m"),
        ("max_lateness", "48h", "2d"),
        ("max_lateness", "4w", "4w"),
        ("max_lateness", "30d", "30d"),
        ("max_lateness", "43200m", "30d"),
        ("rate_limit", 1, 1),
        ("rate_limit", 100_000_000, 100_000_000),
        ("rate_limit", None, None),
        ("delivery_window", WINDOW, WINDOW),
        ("delivery_window", {**WINDOW, "start": "00:00", "end": "23:59:59"}, None),
        ("delivery_window", {**WINDOW, "start": "22:00", "end": "06:00"}, None),
        ("delivery_window", {**WINDOW, "timezone": "America/Argentina/Ushuaia"}, None),
        ("delivery_window", None, None),
        ("timezone_fallback", "Asia/Kathmandu", "Asia/Kathmandu"),
        ("timezone_fallback", None, "UTC"),
        ("past_policy", "send_now", "send_now"),
        ("expires_at", "2027-05-01T02:00:00+02:00", "2027-05-01T00:00:00Z"),
        ("scheduled_at", "2028-02-29T23:59:59.5-12:00", "2028-03-01T11:59:59.500000Z"),
        ("delivery_mode", "instant", "instant"),
    ],
)
async def test_value_is_taken_and_answered(
    desk: Desk, name: str, given: object, answered: object
) -> None:
    created = await desk.create(**{"scheduled_at": AT, name: given})

    assert created[name] == (answered or given)
    assert created == await desk.seen(created)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_lateness", ["59m", "30d", "1w"]),
        ("local_time", ["00:00", "23:59", "23:59:59", "09:00:01"]),
        ("local_date", ["2028-02-29", "2027-12-31"]),
    ],
)
async def test_value_of_local_time_is_taken_and_answered(
    desk: Desk, name: str, values: list[str]
) -> None:
    created = [await desk.create(**{**GOOD_MORNING, name: value}) for value in values]

    assert [each[name] for each in created] == values
    assert {each["status"] for each in created} == {"scheduled"}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (
            "max_lateness",
            ["0m", "59s", "31d", "5w", "43201m", "1.5h", "-1h", "1H", "1 h", "", "h", "\u0661h"],
        ),
        ("max_lateness", ["9" * 400 + "d", 3_600, None]),
        ("rate_limit", [0, -1, 100_000_001, 1.5, "60", True, [], 2**63]),
        ("past_policy", ["hope", "", None, 1]),
        ("delivery_mode", ["later", None]),
        ("timezone_fallback", ["user", "", "Mars/Olympus", "../UTC", "/UTC", "europe/berlin", 2]),
        ("delivery_window", ["09:00-21:00", [], {**WINDOW, "end": "09:00"}]),
        ("delivery_window", [{**WINDOW, "end": "09:00:00"}]),
        ("delivery_window.days", [{**WINDOW, "days": []}]),
        (
            "delivery_window.start",
            [
                {**WINDOW, "start": value}
                for value in ("24:00", "9:00", "09:00Z", "09:00+02:00", "09", "09:00:00.5", 9, None)
            ],
        ),
        (
            "delivery_window.timezone",
            [
                {**WINDOW, "timezone": value}
                for value in ("User", "local", "", "+02:00", "../UTC", "europe/berlin", None, 2)
            ],
        ),
        ("expires_at", ["2027-05-01T00:00:00", "2027-05-01", 1_900_000_000, "1900000000"]),
        (
            "expires_at",
            [
                "9999-12-31T23:59:59Z",
                "9999-12-31T23:59:59-14:00",
                "0001-01-01T00:00:00+14:00",
                "2020-01-01T00:00:00Z",
            ],
        ),
    ],
)
async def test_values_out_of_bounds_are_refused_with_their_path(
    desk: Desk, path: str, values: list[object]
) -> None:
    name = path.partition(".")[0]

    answers = [await desk.offer(HELLO, scheduled_at=AT, **{name: value}) for value in values]

    assert [result_of(each) for each in answers] == [(400, "INVALID_INPUT")] * len(values)
    assert [paths_of(each) for each in answers] == [[f"body.{path}"]] * len(values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "local_date",
            [
                "2027-02-29",
                "0000-01-01",
                "2027-4-20",
                "20270420",
                "2027-04-20T00:00:00Z",
                20_270_420,
            ],
        ),
        ("local_time", ["09:00+02:00", "09:00Z", "9 am", "24:00", "09:60", 32_400]),
        ("expires_at", ["2027-04-19T19:00:00Z"]),
    ],
)
async def test_local_time_that_is_none_is_refused_with_its_path(
    desk: Desk, name: str, values: list[object]
) -> None:
    answers = [await desk.offer(GOOD_MORNING, **{name: value}) for value in values]

    assert [result_of(each) for each in answers] == [(400, "INVALID_INPUT")] * len(values)
    assert [paths_of(each) for each in answers] == [[f"body.{name}"]] * len(values)


async def test_half_a_local_time_and_two_times_are_refused(desk: Desk) -> None:
    answers = [
        await desk.offer(GOOD_MORNING, local_date=None),
        await desk.offer(GOOD_MORNING, local_time=None),
        await desk.offer(GOOD_MORNING, scheduled_at=AT),
        await desk.offer(GOOD_MORNING, delivery_mode="instant"),
    ]

    assert [result_of(each) for each in answers] == [(400, "INVALID_INPUT")] * 4
    assert [paths_of(each) for each in answers] == [["body"]] * 4


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (["9999-12-31", "9999-12-30", "2033-01-01", "0001-01-01"], "INVALID_SCHEDULED_AT"),
        (["0002-01-01", "2026-01-01"], "SCHEDULED_AT_IN_PAST"),
    ],
)
async def test_local_date_that_is_out_of_reach_is_refused(
    desk: Desk, dates: list[str], expected: str
) -> None:
    answers = [await desk.offer(GOOD_MORNING, local_date=each) for each in dates]

    assert [result_of(each) for each in answers] == [(400, expected)] * len(dates)


async def test_local_time_that_has_passed_in_some_zones_is_taken(desk: Desk) -> None:
    # Clocks are up to 12 hours behind UTC, and some of them are not there yet.
    created = await desk.create(**wall_clock(hours=11, minutes=58))

    assert created["status"] == "scheduled"


async def test_local_time_that_has_passed_in_every_zone_is_refused(desk: Desk) -> None:
    answer = await desk.offer(wall_clock(hours=12, minutes=1))

    assert result_of(answer) == (400, "SCHEDULED_AT_IN_PAST")


async def test_campaign_in_local_time_may_end_while_it_goes_from_zone_to_zone(desk: Desk) -> None:
    created = await desk.create(**GOOD_MORNING, expires_at="2027-04-19T19:00:01Z")

    assert created["status"] == "scheduled"


async def test_instant_is_read_in_every_spelling_of_iso_8601(desk: Desk) -> None:
    spellings = [
        "2027-04-20T09:00:00+00:00",
        "2027-04-20T09:00:00.000Z",
        "2027-04-20 09:00:00Z",
        "2027-04-20T09:00Z",
        "20270420T090000Z",
        "2027-04-20T14:45:00+05:45",
        "2027-04-19T20:30:00-12:30",
    ]

    created = [await desk.create(scheduled_at=each) for each in spellings]

    assert {each["scheduled_at"] for each in created} == {AT}


async def test_instant_that_is_none_is_refused(desk: Desk) -> None:
    values = ["", "now", "2027-04-20", "2027-04-20T25:00:00Z", "2027-02-29T09:00:00Z", True, {}, 5]

    answers = [await desk.offer(HELLO, scheduled_at=each) for each in values]

    assert [result_of(each) for each in answers] == [(400, "INVALID_SCHEDULED_AT")] * len(values)


def test_every_zone_that_the_system_knows_is_taken() -> None:
    names = sorted(known_timezones())

    bodies = [
        CampaignBody.model_validate(
            {
                **GOOD_MORNING,
                "timezone_fallback": name,
                "delivery_window": {**WINDOW, "timezone": name},
            }
        )
        for name in names
    ]

    assert [body.timezone_fallback for body in bodies] == names
    assert [ZoneInfo(name).key for name in names] == names


async def test_zone_of_the_project_is_taken_where_none_is_given(desk: Desk) -> None:
    await desk.client.patch("/admin/project", json={"timezone": "Pacific/Apia"})

    silent = await desk.create(**GOOD_MORNING)
    outspoken = await desk.create(**GOOD_MORNING, timezone_fallback="Asia/Tokyo")
    await desk.client.patch("/admin/project", json={"timezone": "UTC"})

    seen = [(await desk.seen(each))["timezone_fallback"] for each in (silent, outspoken)]
    assert seen == ["Pacific/Apia", "Asia/Tokyo"]


async def test_zone_that_the_system_knows_no_more_can_be_seen_and_replaced(desk: Desk) -> None:
    created = await desk.create(delivery_window={**WINDOW, "timezone": "Europe/Berlin"})
    await desk.set(created, window_timezone="Europe/Bonn")

    seen = await desk.seen(created)
    listed = await desk.listed()
    refused = await desk.change(created, title="New")
    replaced = await desk.change(created, title="New", delivery_window=WINDOW)

    assert seen["delivery_window"]["timezone"] == "Europe/Bonn"
    assert listed == seen
    assert paths_of(refused) == ["body.delivery_window.timezone"]
    assert data_of(replaced)["delivery_window"] == WINDOW
