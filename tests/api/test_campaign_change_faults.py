"""A PATCH that is refused: by its own fields, or because the whole would not be right."""

from datetime import UTC, datetime, timedelta

import pytest

from fanfare.db.engine import Database
from tests.api.campaigning import (
    AT,
    Desk,
    Json,
    data_of,
    in_,
    paths_of,
    result_of,
)
from tests.api.conftest import Tenant

LATER = "2027-04-21T09:00:00Z"
LOCAL = {"delivery_mode": "local_time", "local_date": "2027-04-20", "local_time": "09:00"}


@pytest.fixture
def desk(tenant: Tenant, database: Database) -> Desk:
    return Desk(tenant, database)


# Where the first fault is, and what has it.
FAULTS: list[tuple[str, Json]] = [
    ("surprise", {"surprise": 1}),
    ("status", {"status": "sent"}),
    ("title", {"title": ""}),
    ("title", {"title": 5}),
    ("title", {"title": "t" * 501}),
    ("body", {"body": "b" * 3_001}),
    ("name", {"name": ""}),
    ("data", {"data": []}),
    ("segment_id", {"segment_id": 5}),
    ("delivery_mode", {"delivery_mode": "later"}),
    ("local_date", {"local_date": "2027-02-29"}),
    ("local_time", {"local_time": "24:00"}),
    ("timezone_fallback", {"timezone_fallback": "Mars/Olympus"}),
    ("past_policy", {"past_policy": "hope"}),
    ("delivery_window.end", {"delivery_window": {"start": "09:00"}}),
    ("delivery_window.start", {"delivery_window": {}}),
    ("max_lateness", {"max_lateness": "31d"}),
    ("rate_limit", {"rate_limit": 0}),
    ("expires_at", {"expires_at": "tomorrow"}),
    ("on_unknown", {"on_unknown": "hope"}),
    ("confirmation", {"confirmation": 1}),
]


async def test_fault_is_named_by_its_path(desk: Desk) -> None:
    created = await desk.create()

    answers = [await desk.change(created, **change) for _, change in FAULTS]

    assert {result_of(answer) for answer in answers} == {(400, "INVALID_INPUT")}
    assert [paths_of(answer)[0] for answer in answers] == [f"body.{path}" for path, _ in FAULTS]
    assert await desk.seen(created) == created


@pytest.mark.parametrize("state", ["draft", "scheduled"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": {"aps": {}}}, (400, "RESERVED_DATA_KEY")),
        ({"data": {"google.x": 1}}, (400, "RESERVED_DATA_KEY")),
        ({"data": {"text": "x" * 4_096}}, (413, "PAYLOAD_TOO_LARGE")),
        ({"segment_id": "seg_nobody"}, (404, "SEGMENT_NOT_FOUND")),
        ({"segment_id": ""}, (404, "SEGMENT_NOT_FOUND")),
        ({"expires_at": "2020-01-01T00:00:00Z"}, (400, "INVALID_INPUT")),
        ({"scheduled_at": AT, "expires_at": AT}, (400, "INVALID_INPUT")),
    ],
)
async def test_change_that_would_spoil_the_whole_is_refused(
    desk: Desk, state: str, change: Json, expected: tuple[int, str]
) -> None:
    created = await desk.campaign_in(state)

    answer = await desk.change(created, **change)

    assert result_of(answer) == expected
    assert await desk.seen(created) == created


async def test_two_changes_that_are_too_large_together_are_refused(desk: Desk) -> None:
    created = await desk.create(data={"text": "x" * 2_500})

    answer = await desk.change(created, body="b" * 2_000)

    assert result_of(answer) == (413, "PAYLOAD_TOO_LARGE")
    assert data_of(await desk.change(created, body="b" * 2_000, data=None))["data"] == {}


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({"scheduled_at": AT}, {"expires_at": AT}),
        ({"scheduled_at": AT}, {"expires_at": "2027-04-20T08:59:59Z"}),
        ({"expires_at": AT}, {"scheduled_at": AT}),
        ({"expires_at": AT}, {"scheduled_at": LATER}),
        ({"scheduled_at": AT, "expires_at": LATER}, {"scheduled_at": LATER}),
        ({}, {"expires_at": "2026-01-01T00:00:00Z"}),
        (LOCAL, {"expires_at": "2027-04-19T12:00:00Z"}),
        ({"expires_at": "2027-04-19T12:00:00Z"}, LOCAL),
    ],
)
async def test_campaign_that_would_expire_before_it_begins_is_refused(
    desk: Desk, before: Json, change: Json
) -> None:
    created = await desk.create(**before)

    answer = await desk.change(created, **change)

    assert result_of(answer) == (400, "INVALID_INPUT")
    assert paths_of(answer) == ["body.expires_at"]
    assert await desk.seen(created) == created


async def test_campaign_that_has_expired_can_be_edited_and_given_more_time(desk: Desk) -> None:
    created = await desk.create(expires_at=in_(days=1))
    await desk.set(created, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    edited = await desk.change(created, title="New")
    extended = await desk.change(created, expires_at=LATER)

    assert [each.status_code for each in (edited, extended)] == [200, 200]


async def test_change_of_several_wrong_fields_names_them_all(desk: Desk) -> None:
    created = await desk.create()

    answer = await desk.change(created, title="", rate_limit=0, surprise=1)

    assert paths_of(answer) == ["body.title", "body.rate_limit", "body.surprise"]


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"title"', b"{"])
async def test_body_that_is_no_object_is_refused(desk: Desk, content: bytes) -> None:
    created = await desk.create()

    answer = await desk.client.patch(
        f"/admin/push/{created['id']}",
        content=content,
        headers={"Content-Type": "application/json"},
    )

    assert result_of(answer) == (400, "INVALID_INPUT")


async def test_body_of_another_type_is_refused(desk: Desk) -> None:
    created = await desk.create()

    answer = await desk.client.patch(
        f"/admin/push/{created['id']}", content=b"{}", headers={"Content-Type": "text/plain"}
    )

    assert result_of(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")
