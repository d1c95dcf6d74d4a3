"""Each control in each state: what it answers, and that a second time changes nothing."""

from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from fanfare.db.engine import Database
from tests.api.campaigning import AT, Desk, Json, data_of, result_of
from tests.api.conftest import Tenant, restricted

STATES = (
    "draft",
    "scheduled",
    "paused scheduled",
    "sending",
    "paused sending",
    "sent",
    "cancelled",
    "failed",
)

OK = (200, None)
ACCEPTED = (202, None)
REMOVED = (204, None)
NOT_EDITABLE = (409, "NOT_EDITABLE")
ALREADY_SENT = (409, "ALREADY_SENT")
ALREADY_SCHEDULED = (409, "ALREADY_SCHEDULED")
NOT_PAUSABLE = (409, "NOT_PAUSABLE")
NOT_RESUMABLE = (409, "NOT_RESUMABLE")
NOT_CANCELLABLE = (409, "NOT_CANCELLABLE")

WINDOW = {"start": "09:00", "end": "21:00", "timezone": "Europe/Berlin"}
LATER = "2027-04-21T09:00:00Z"

UNSENT_ALONE = (OK, OK, OK, *[NOT_EDITABLE] * 5)
UNTIL_THE_END = (OK, OK, OK, OK, OK, NOT_EDITABLE, NOT_EDITABLE, OK)

# By control, in the order of STATES.
CHANGES = {
    "title": ({"title": "Hello again"}, UNSENT_ALONE),
    "scheduled_at": ({"scheduled_at": LATER}, UNSENT_ALONE),
    "scheduled_at null": ({"scheduled_at": None}, UNSENT_ALONE),
    "rate_limit": ({"rate_limit": 30_000}, UNTIL_THE_END),
    "delivery_window": ({"delivery_window": WINDOW}, UNTIL_THE_END),
    "nothing": ({}, UNTIL_THE_END),
}
VERBS = {
    "send": (
        ACCEPTED,
        ALREADY_SCHEDULED,
        ALREADY_SCHEDULED,
        *[ALREADY_SENT] * 4,
        ACCEPTED,
    ),
    "pause": (NOT_PAUSABLE, *[ACCEPTED] * 4, *[NOT_PAUSABLE] * 3),
    "resume": (NOT_RESUMABLE, *[ACCEPTED] * 4, *[NOT_RESUMABLE] * 3),
    "cancel": (NOT_CANCELLABLE, *[ACCEPTED] * 4, NOT_CANCELLABLE, ACCEPTED, NOT_CANCELLABLE),
}
SO_ALREADY = (
    ("paused scheduled", "pause"),
    ("paused sending", "pause"),
    ("scheduled", "resume"),
    ("sending", "resume"),
    ("cancelled", "cancel"),
)
REMOVALS = (REMOVED, REMOVED, REMOVED, *[NOT_EDITABLE] * 5)

EVERY_CHANGE = [
    pytest.param(state, fields, result, id=f"{name}-{state}")
    for name, (fields, results) in CHANGES.items()
    for state, result in zip(STATES, results, strict=True)
]
EVERY_VERB = [
    pytest.param(state, verb, result, id=f"{verb}-{state}")
    for verb, results in VERBS.items()
    for state, result in zip(STATES, results, strict=True)
]


@pytest.fixture
def desk(tenant: Tenant, database: Database) -> Desk:
    return Desk(tenant, database)


@pytest.mark.parametrize(("state", "fields", "expected"), EVERY_CHANGE)
async def test_change_in_each_state_and_again(
    desk: Desk, state: str, fields: Json, expected: tuple[int, str | None]
) -> None:
    campaign = await desk.campaign_in(state)

    first = await desk.change(campaign, **fields)
    row = await desk.row(campaign)
    again = await desk.change(campaign, **fields)

    assert result_of(first) == result_of(again) == expected
    assert _without_request_id(first) == _without_request_id(again)
    assert await desk.row(campaign) == row


@pytest.mark.parametrize(("state", "verb", "expected"), EVERY_VERB)
async def test_verb_in_each_state(
    desk: Desk, state: str, verb: str, expected: tuple[int, str | None]
) -> None:
    campaign = await desk.campaign_in(state)
    before = await desk.row(campaign)

    answer = await desk.act(campaign, verb)

    assert result_of(answer) == expected
    is_changed = await desk.row(campaign) != before
    assert is_changed == (expected == ACCEPTED and (state, verb) not in SO_ALREADY)


@pytest.mark.parametrize(
    ("state", "verb"),
    [("scheduled", "pause"), ("paused sending", "resume"), ("sending", "cancel"), *SO_ALREADY],
)
async def test_verb_that_was_done_changes_nothing_when_it_is_done_again(
    desk: Desk, state: str, verb: str
) -> None:
    campaign = await desk.campaign_in(state)

    first = await desk.act(campaign, verb)
    row = await desk.row(campaign)
    again = await desk.act(campaign, verb)

    assert data_of(first) == data_of(again)
    assert await desk.row(campaign) == row


@pytest.mark.parametrize(("state", "expected"), [*zip(STATES, REMOVALS, strict=True)])
async def test_removal_in_each_state(
    desk: Desk, state: str, expected: tuple[int, str | None]
) -> None:
    campaign = await desk.campaign_in(state)

    answer = await desk.client.delete(f"/admin/push/{campaign['id']}")

    assert result_of(answer) == expected
    assert (await desk.row(campaign) is None) == (expected == REMOVED)


@pytest.mark.parametrize("state", ["scheduled", "sending"])
async def test_pause_and_resume_leave_the_status(desk: Desk, state: str) -> None:
    campaign = await desk.campaign_in(state)

    paused = data_of(await desk.act(campaign, "pause"))
    resumed = data_of(await desk.act(campaign, "resume"))

    assert (paused["status"], resumed["status"]) == (state, state)
    assert paused["paused_at"] is not None
    assert resumed["paused_at"] is None


@pytest.mark.parametrize("state", ["scheduled", "paused scheduled", "sending", "paused sending"])
async def test_cancelled_is_not_paused_and_keeps_its_row(desk: Desk, state: str) -> None:
    campaign = await desk.campaign_in(state)

    cancelled = data_of(await desk.act(campaign, "cancel"))

    assert (cancelled["status"], cancelled["paused_at"]) == ("cancelled", None)
    assert cancelled["cancelled_at"] is not None
    assert cancelled == await desk.seen(campaign)


async def test_new_time_leaves_a_paused_campaign_paused(desk: Desk) -> None:
    campaign = await desk.campaign_in("paused scheduled")

    changed = data_of(await desk.change(campaign, scheduled_at=LATER))

    assert (changed["status"], changed["scheduled_at"]) == ("scheduled", LATER)
    assert changed["paused_at"] == campaign["paused_at"]


async def test_draft_again_is_not_paused(desk: Desk) -> None:
    campaign = await desk.campaign_in("paused scheduled")

    draft = data_of(await desk.change(campaign, scheduled_at=None))

    assert (draft["status"], draft["paused_at"]) == ("draft", None)
    assert result_of(await desk.act(draft, "send")) == ACCEPTED


async def test_failed_one_that_is_sent_again_has_no_failure(desk: Desk) -> None:
    campaign = await desk.campaign_in("failed")

    sent = data_of(await desk.act(campaign, "send"))

    assert campaign["failure"]["code"] == "SEGMENT_NOT_FOUND"
    assert (sent["status"], sent["failure"]) == ("sending", None)


async def test_removal_again_finds_nothing(desk: Desk) -> None:
    campaign = await desk.campaign_in("scheduled")

    await desk.client.delete(f"/admin/push/{campaign['id']}")
    again = await desk.client.delete(f"/admin/push/{campaign['id']}")

    assert result_of(again) == (404, "NOT_FOUND")


async def _every_control(client: AsyncClient, campaign_id: str) -> list[tuple[int, str | None]]:
    path = f"/admin/push/{campaign_id}"
    posts = [await client.post(f"{path}/{verb}") for verb in VERBS]
    others = [await client.patch(path, json={"title": "Theirs"}), await client.delete(path)]
    return [result_of(answer) for answer in posts + others]


async def test_another_projects_campaign_is_out_of_reach(desk: Desk, other_tenant: Tenant) -> None:
    campaign = await desk.campaign_in("scheduled")
    row = await desk.row(campaign)

    results = await _every_control(other_tenant.client, campaign["id"])

    assert results == [(404, "NOT_FOUND")] * 6
    assert await desk.row(campaign) == row


async def test_campaign_that_nobody_made_is_not_found(desk: Desk) -> None:
    results = await _every_control(desk.client, str(uuid4()))

    assert results == [(404, "NOT_FOUND")] * 6


async def test_id_that_is_no_uuid_is_refused_with_its_path(desk: Desk) -> None:
    results = await _every_control(desk.client, "campaign-1")

    assert results == [(400, "INVALID_INPUT")] * 6


@pytest.mark.parametrize(
    ("scope", "sends", "writes"),
    [
        ("campaigns:read", 403, 403),
        ("campaigns:write", 403, 200),
        ("campaigns:send", 202, 403),
        ("audience:write", 403, 403),
        ("devices:register", 403, 403),
        ("admin", 202, 200),
    ],
)
async def test_scope_of_each_control(
    app: FastAPI, desk: Desk, scope: str, sends: int, writes: int
) -> None:
    draft, scheduled = await desk.create(), await desk.create(scheduled_at=AT)
    client = await restricted(app, desk.tenant, scope)

    posts = [
        await client.post(f"/admin/push/{draft['id']}/send"),
        await client.post(f"/admin/push/{scheduled['id']}/pause"),
        await client.post(f"/admin/push/{scheduled['id']}/resume"),
        await client.post(f"/admin/push/{scheduled['id']}/cancel"),
    ]
    patch = await client.patch(f"/admin/push/{(await desk.create())['id']}", json={})

    assert [answer.status_code for answer in posts] == [sends] * 4
    assert patch.status_code == writes


async def test_every_control_works_through_the_door_with_the_project(desk: Desk) -> None:
    path = f"{desk.tenant.door}/push/campaigns/{(await desk.create())['id']}"

    patched = await desk.client.patch(path, json={"scheduled_at": AT})
    posts = [await desk.client.post(f"{path}/{verb}") for verb in ("pause", "resume", "cancel")]

    assert [result_of(each) for each in (patched, *posts)] == [OK, *[ACCEPTED] * 3]
    assert posts[-1].json() == (await desk.client.get(path)).json()


def _without_request_id(answer: httpx.Response) -> Json:
    body: Json = answer.json()
    error = body.get("error")
    return body if error is None else {**error, "request_id": None}
