"""PATCH of a campaign: what is absent stays, null resets, and the whole must still be right."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fanfare.db.engine import Database
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

LATER = "2027-04-21T09:00:00Z"
FULL = {
    "name": "spring-sale",
    "title": "The sale is on",
    "body": "Until midnight.",
    "data": {"screen": "sale", "levels": [1, 2], "deep": {"a": None}},
    "segment_id": "seg_inactive_7d",
    "scheduled_at": AT,
    "timezone_fallback": "Asia/Kathmandu",
    "past_policy": "send_now",
    "delivery_window": {"start": "22:00", "end": "06:30:15", "timezone": "user"},
    "max_lateness": "90m",
    "rate_limit": 60_000,
    "expires_at": "2027-05-01T00:00:00Z",
    "on_unknown": "skip",
}
# What each field is at creation where it is absent.
DEFAULTS: Json = {
    "name": "The sale is on",
    "data": {},
    "segment_id": None,
    "scheduled_at": None,
    "timezone_fallback": "UTC",
    "past_policy": "skip",
    "delivery_window": None,
    "max_lateness": "1h",
    "rate_limit": None,
    "expires_at": None,
    "on_unknown": "resend",
}
LOCAL = {"delivery_mode": "local_time", "local_date": "2027-04-20", "local_time": "09:00"}
INSTANT = {"delivery_mode": "instant", "local_date": None, "local_time": None}
SEGMENT = {
    "id": "seg_inactive_7d",
    "name": "Inactive for a week",
    "rules": {
        "operator": "AND",
        "conditions": [{"field": "last_seen_at", "op": "not_within", "value": "7d"}],
    },
}
# What create takes, of what is answered.
WRITABLE = {*FULL, *LOCAL}


@pytest.fixture
async def desk(tenant: Tenant, database: Database) -> Desk:
    await tenant.client.post("/admin/segments", json=SEGMENT)
    return Desk(tenant, database)


def _but(campaign: Json, *names: str) -> Json:
    return {name: value for name, value in campaign.items() if name not in {*names, "updated_at"}}


def _writable(campaign: Json) -> Json:
    return {name: value for name, value in campaign.items() if name in WRITABLE}


async def test_what_create_takes_is_what_is_answered(desk: Desk) -> None:
    created = await desk.create(**FULL)

    assert _writable(created) == {**FULL, **INSTANT}
    assert created == await desk.seen(created) == await desk.listed()


@pytest.mark.parametrize(
    "fields",
    [FULL, HELLO, {**HELLO, "scheduled_at": AT}, GOOD_MORNING, {"title": "t" * 500, "body": "b"}],
)
async def test_what_is_answered_changes_nothing_when_it_is_sent_back(
    desk: Desk, fields: Json
) -> None:
    created = await desk.create(**fields)
    row = await desk.row(created)

    changed = await desk.change(created, **_writable(created))

    assert data_of(changed) == created
    assert await desk.row(created) == row


@pytest.mark.parametrize("fields", [FULL, GOOD_MORNING])
async def test_what_is_answered_creates_the_same_again(desk: Desk, fields: Json) -> None:
    created = await desk.create(**fields)

    copy = await desk.create(**_writable(created))

    assert _writable(copy) == _writable(created)


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
async def test_nothing_said_changes_nothing(desk: Desk, content_type: str) -> None:
    created = await desk.create(**FULL)

    headers = {"Content-Type": content_type}
    path = f"/admin/push/{created['id']}"
    answer = await desk.client.patch(path, content=b"{}", headers=headers)

    assert data_of(answer) == created


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "Hello again"),
        ("body", "Another"),
        ("name", "autumn"),
        ("data", {"only": "this"}),
        ("segment_id", "seg_active_7d"),
        ("scheduled_at", LATER),
        ("timezone_fallback", "Europe/Berlin"),
        ("past_policy", "skip"),
        ("delivery_window", {"start": "08:00", "end": "09:00", "timezone": "Europe/Berlin"}),
        ("max_lateness", "2d"),
        ("rate_limit", 1),
        ("expires_at", "2027-06-01T00:00:00Z"),
        ("on_unknown", "resend"),
    ],
)
async def test_field_is_changed_and_no_other(desk: Desk, name: str, value: object) -> None:
    created = await desk.create(**FULL)

    changed = data_of(await desk.change(created, **{name: value}))

    assert changed[name] == value
    assert _but(changed, name) == _but(created, name)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
async def test_null_is_what_is_meant_where_a_field_is_absent(
    desk: Desk, name: str, value: object
) -> None:
    created = await desk.create(**FULL)

    changed = data_of(await desk.change(created, **{name: None}))

    assert changed[name] == value
    assert _but(changed, name, "status", "links") == _but(created, name, "status", "links")


@pytest.mark.parametrize("name", ["title", "body"])
async def test_title_and_body_cannot_be_taken_away(desk: Desk, name: str) -> None:
    created = await desk.create()

    answer = await desk.change(created, **{name: None})

    assert result_of(answer) == (400, "INVALID_INPUT")
    assert paths_of(answer) == [f"body.{name}"]


async def test_name_that_nobody_gave_follows_the_title(desk: Desk) -> None:
    unnamed, named = await desk.create(), await desk.create(name="mine")

    both = [data_of(await desk.change(each, title="Bonjour")) for each in (unnamed, named)]

    assert [each["name"] for each in both] == ["Bonjour", "mine"]


async def test_name_follows_a_title_that_is_longer_than_a_name(desk: Desk) -> None:
    created = await desk.create(title="t" * 500)

    assert data_of(await desk.change(created, title="u" * 500))["name"] == "u" * 500
    assert data_of(await desk.change(created, body="Another"))["name"] == "u" * 500


async def test_null_timezone_is_the_projects(desk: Desk) -> None:
    created = await desk.create(**FULL)
    await desk.client.patch("/admin/project", json={"timezone": "America/Bogota"})

    untouched = data_of(await desk.change(created, title="New"))
    reset = data_of(await desk.change(created, timezone_fallback=None))

    assert untouched["timezone_fallback"] == "Asia/Kathmandu"
    assert reset["timezone_fallback"] == "America/Bogota"


# Modes and times.


@pytest.mark.parametrize(
    ("before", "change", "status", "timing"),
    [
        ({}, {"scheduled_at": AT}, "scheduled", {"scheduled_at": AT, **INSTANT}),
        ({}, LOCAL, "scheduled", {"scheduled_at": None, **LOCAL}),
        ({"scheduled_at": AT}, LOCAL, "scheduled", {"scheduled_at": None, **LOCAL}),
        ({"scheduled_at": AT}, {"scheduled_at": None}, "draft", INSTANT),
        (LOCAL, {"scheduled_at": AT}, "scheduled", {"scheduled_at": AT, **INSTANT}),
        (LOCAL, {"scheduled_at": None}, "draft", {"scheduled_at": None, **INSTANT}),
        (LOCAL, {"delivery_mode": "instant"}, "draft", {"scheduled_at": None, **INSTANT}),
        (LOCAL, {"delivery_mode": None}, "draft", {"scheduled_at": None, **INSTANT}),
        (LOCAL, {"local_time": "10:00"}, "scheduled", {**LOCAL, "local_time": "10:00"}),
        (LOCAL, {"local_date": "2027-05-01"}, "scheduled", {**LOCAL, "local_date": "2027-05-01"}),
        (LOCAL, {"delivery_mode": "local_time"}, "scheduled", LOCAL),
        (LOCAL, {**LOCAL, "scheduled_at": None}, "scheduled", LOCAL),
        (
            LOCAL,
            {"delivery_mode": "instant", "scheduled_at": AT},
            "scheduled",
            {"scheduled_at": AT, **INSTANT},
        ),
    ],
)
async def test_mode_follows_what_is_said(
    desk: Desk, before: Json, change: Json, status: str, timing: Json
) -> None:
    created = await desk.create(**before)

    changed = data_of(await desk.change(created, **change))

    assert changed["status"] == status
    assert {name: changed[name] for name in timing} == timing


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"delivery_mode": "local_time"}),
        ({}, {"local_date": "2027-04-20", "local_time": "09:00"}),
        ({}, {"delivery_mode": "local_time", "local_date": "2027-04-20"}),
        ({"scheduled_at": AT}, {"local_time": "09:00"}),
        ({"scheduled_at": AT}, {**LOCAL, "scheduled_at": AT}),
        (LOCAL, {"local_date": None}),
        (LOCAL, {"local_time": None}),
        (LOCAL, {"scheduled_at": AT, "local_time": "10:00"}),
        (LOCAL, {"delivery_mode": "instant", "local_time": "10:00"}),
    ],
)
async def test_two_times_or_half_a_time_are_refused(desk: Desk, before: Json, change: Json) -> None:
    created = await desk.create(**before)

    answer = await desk.change(created, **change)

    assert result_of(answer) == (400, "INVALID_INPUT")
    assert paths_of(answer) == ["body"]
    assert await desk.seen(created) == created


@pytest.mark.parametrize("state", ["scheduled", "paused scheduled"])
@pytest.mark.parametrize(
    "change", [{"title": "New"}, {"rate_limit": 5}, {"max_lateness": "3h"}, {"segment_id": None}]
)
async def test_time_that_has_come_stands_in_no_other_changes_way(
    desk: Desk, state: str, change: Json
) -> None:
    created = await desk.campaign_in(state)
    await desk.set(created, scheduled_at=datetime.now(UTC) - timedelta(seconds=1))

    changed = data_of(await desk.change(created, **change))

    assert {**changed, **change} == changed
    assert changed["status"] == "scheduled"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheduled_at": "2026-01-01T00:00:00Z"}, "SCHEDULED_AT_IN_PAST"),
        ({"scheduled_at": "2027-01-01T00:00:00"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "2040-01-01T00:00:00Z"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": 5}, "INVALID_SCHEDULED_AT"),
        ({**LOCAL, "local_date": "2026-01-01"}, "SCHEDULED_AT_IN_PAST"),
        ({**LOCAL, "local_date": "2040-01-01"}, "INVALID_SCHEDULED_AT"),
    ],
)
@pytest.mark.parametrize("state", ["draft", "scheduled"])
async def test_time_that_is_said_anew_must_lie_ahead(
    desk: Desk, state: str, change: Json, code: str
) -> None:
    created = await desk.campaign_in(state)

    answer = await desk.change(created, **change)

    assert result_of(answer) == (400, code)
    assert await desk.seen(created) == created


async def test_time_that_has_come_cannot_be_given_again(desk: Desk) -> None:
    created = await desk.campaign_in("scheduled")
    await desk.set(created, scheduled_at=datetime.now(UTC) - timedelta(seconds=1))

    answer = await desk.change(created, scheduled_at=(await desk.seen(created))["scheduled_at"])

    assert result_of(answer) == (400, "SCHEDULED_AT_IN_PAST")


# At the same time, and through both doors.


async def test_changes_at_the_same_time_all_survive(desk: Desk) -> None:
    created = await desk.create()
    changes: list[Json] = [
        {"title": "New"},
        {"body": "Newer"},
        {"rate_limit": 5},
        {"data": {"a": 1}},
        {"expires_at": LATER},
        {"on_unknown": "skip"},
        {"scheduled_at": AT},
        {"max_lateness": "2h"},
    ]

    answers = await asyncio.gather(*(desk.change(created, **each) for each in changes))

    seen = await desk.seen(created)
    assert {answer.status_code for answer in answers} == {200}
    merged = {name: value for each in changes for name, value in each.items()}
    assert {name: seen[name] for name in merged} == merged


async def test_of_a_change_and_a_send_at_the_same_time_both_are_whole(desk: Desk) -> None:
    created = await desk.create()

    changed, sent = await asyncio.gather(
        desk.change(created, title="New", body="New"), desk.act(created, "send")
    )

    seen = await desk.seen(created)
    content = seen["title"], seen["body"]
    old, new = (HELLO["title"], HELLO["body"]), ("New", "New")
    # What was changed while it was looked at is not sent unseen: ask again.
    assert (changed.status_code, sent.status_code, seen["status"], content) in (
        (200, 202, "sending", new),
        (200, 503, "draft", new),
        (409, 202, "sending", old),
    )


async def test_change_through_the_door_with_the_project_is_the_same(desk: Desk) -> None:
    created = await desk.create()
    path = f"{desk.tenant.door}/push/campaigns/{created['id']}"

    answer = await desk.client.patch(path, json={"scheduled_at": AT})

    assert data_of(answer) == await desk.seen(created)
    assert data_of(answer)["scheduled_at"] == AT
