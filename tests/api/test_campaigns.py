"""Campaigns over HTTP: what is stored, what is refused and why, and that one sender wins."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from api.resources import Resources
from tests.api.conftest import NO_TEMPORAL, Tenant, open_client
from workflows import starter

WIN_BACK = {
    "name": "win-back-7d",
    "title": "Welcome back!",
    "body": "Your streak is waiting for you.",
    "data": {"screen": "home", "promo": "winback"},
}
INACTIVE = {
    "id": "seg_inactive_7d",
    "name": "Inactive for a week",
    "rules": {
        "operator": "AND",
        "conditions": [{"field": "last_seen_at", "op": "not_within", "value": "7d"}],
    },
}


def in_(**delay: float) -> str:
    return (datetime.now(UTC) + timedelta(**delay)).isoformat().replace("+00:00", "Z")


async def draft(client: AsyncClient, **fields: object) -> dict[str, object]:
    answer = await client.post("/admin/push", json={**WIN_BACK, **fields})
    assert answer.status_code == 201, answer.text
    data: dict[str, object] = answer.json()["data"]
    return data


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_without_a_time_it_is_a_draft(client: AsyncClient) -> None:
    created = await draft(client)

    assert created["status"] == "draft"
    assert {name: created[name] for name in WIN_BACK} == WIN_BACK
    assert created["scheduled_at"] is None
    assert created["segment_id"] is None
    assert created["stats"] == {
        "audience": None,
        "pending": 0,
        "sent": 0,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
        "opened": 0,
        "possible_duplicates": 0,
        "skipped_by": {},
    }


async def test_with_a_time_it_is_scheduled_and_its_workflow_waits(
    client: AsyncClient, idle_temporal_env: WorkflowEnvironment
) -> None:
    await client.post("/admin/segments", json=INACTIVE)

    created = await draft(client, segment_id="seg_inactive_7d", scheduled_at="2027-04-20T09:00:00Z")

    assert created["status"] == "scheduled"
    assert created["scheduled_at"] == "2027-04-20T09:00:00Z"
    handle = idle_temporal_env.client.get_workflow_handle(f"push-campaign-{created['id']}")
    description = await handle.describe()
    assert description.status is not None
    assert description.status.name == "RUNNING"
    assert await description.static_summary() == "win-back-7d"


async def test_an_offset_is_read_and_answered_in_utc(client: AsyncClient) -> None:
    created = await draft(client, scheduled_at="2027-04-20T11:00:00+02:00")

    assert created["scheduled_at"] == "2027-04-20T09:00:00Z"


async def test_the_name_defaults_to_the_title_which_stays_out_of_temporal(
    client: AsyncClient, idle_temporal_env: WorkflowEnvironment
) -> None:
    answer = await client.post(
        "/admin/push", json={"title": "Hello", "body": "World", "scheduled_at": in_(days=1)}
    )

    created = answer.json()["data"]
    assert created["name"] == "Hello"
    handle = idle_temporal_env.client.get_workflow_handle(f"push-campaign-{created['id']}")
    history = (await handle.fetch_history()).to_json()
    assert "Hello" not in history
    assert "World" not in history


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scheduled_at": "2027-04-20T09:00:00"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "next Monday"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": 1_800_000_000}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "2027-02-30T09:00:00Z"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "9999-12-31T23:59:59Z"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "9999-12-31T23:59:59-14:00"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "0001-01-01T00:00:00+14:00"}, "INVALID_SCHEDULED_AT"),
        ({"scheduled_at": "2026-04-20T09:00:00Z"}, "SCHEDULED_AT_IN_PAST"),
        ({"title": ""}, "INVALID_INPUT"),
        ({"title": None}, "INVALID_INPUT"),
        ({"title": "t" * 501}, "INVALID_INPUT"),
        ({"body": "b" * 3_001}, "INVALID_INPUT"),
        ({"body": "NUL \x00"}, "INVALID_INPUT"),
        ({"data": []}, "INVALID_INPUT"),
        ({"data": {"n": 2**70}}, "INVALID_INPUT"),
        ({"surprise": 1}, "INVALID_INPUT"),
        ({"on_unknown": "hope"}, "INVALID_INPUT"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "INVALID_INPUT"),
        ({"data": {"aps": {}}}, "RESERVED_DATA_KEY"),
        ({"data": {"from": "x"}}, "RESERVED_DATA_KEY"),
        ({"data": {"message_type": "x"}}, "RESERVED_DATA_KEY"),
        ({"data": {"google.sent_time": 1}}, "RESERVED_DATA_KEY"),
        ({"data": {"gcm.n": 1}}, "RESERVED_DATA_KEY"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_not_stored(
    client: AsyncClient, fields: dict[str, object], expected: str
) -> None:
    answer = await client.post("/admin/push", json={**WIN_BACK, **fields})

    assert code(answer) == (400, expected)
    assert (await client.get("/admin/push")).json()["data"] == []


async def test_title_and_body_are_required(client: AsyncClient) -> None:
    answer = await client.post("/admin/push", json={})

    assert code(answer) == (400, "INVALID_INPUT")
    paths = {fault["path"] for fault in answer.json()["error"]["details"]["fields"]}
    assert paths == {"body.title", "body.body"}


async def test_a_payload_over_4096_bytes_says_which_and_by_how_much(client: AsyncClient) -> None:
    answer = await client.post("/admin/push", json={**WIN_BACK, "data": {"text": "x" * 4_096}})

    assert code(answer) == (413, "PAYLOAD_TOO_LARGE")
    details = answer.json()["error"]["details"]
    assert details["provider"] == "apns"
    assert details["bytes"] - details["limit"] == details["over_by"]
    assert details["limit"] == 4_096


async def test_a_segment_must_exist(client: AsyncClient) -> None:
    answer = await client.post("/admin/push", json={**WIN_BACK, "segment_id": "seg_nobody"})

    assert code(answer) == (404, "SEGMENT_NOT_FOUND")
    assert (await client.get("/admin/push")).json()["data"] == []


async def test_send_flips_a_draft_to_sending_and_starts_its_workflow(
    client: AsyncClient, idle_temporal_env: WorkflowEnvironment
) -> None:
    created = await draft(client)

    answer = await client.post(f"/admin/push/{created['id']}/send")

    assert answer.status_code == 202
    assert answer.json()["data"]["status"] == "sending"
    assert await starter.is_running(idle_temporal_env.client, answer.json()["data"]["id"])


async def test_of_fifty_concurrent_sends_one_wins(client: AsyncClient) -> None:
    created = await draft(client)

    sends = (client.post(f"/admin/push/{created['id']}/send") for _ in range(50))
    answers = await asyncio.gather(*sends)

    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 49}
    refusals = [answer for answer in answers if answer.status_code == 409]
    assert {code(answer) for answer in refusals} == {(409, "ALREADY_SENT")}


async def test_a_scheduled_campaign_is_not_sent_by_hand(client: AsyncClient) -> None:
    created = await draft(client, scheduled_at=in_(days=1))

    answer = await client.post(f"/admin/push/{created['id']}/send")

    assert code(answer) == (409, "ALREADY_SCHEDULED")
    assert "PATCH" in answer.json()["error"]["message"]


async def test_an_unknown_campaign_is_not_found(client: AsyncClient) -> None:
    nobody = uuid4()

    answers = [
        await client.get(f"/admin/push/{nobody}"),
        await client.post(f"/admin/push/{nobody}/send"),
        await client.get(f"/admin/push/{nobody}/deliveries"),
    ]

    assert [code(answer) for answer in answers] == [(404, "NOT_FOUND")] * 3


async def test_another_projects_campaign_is_not_found(
    client: AsyncClient, other_tenant: Tenant
) -> None:
    created = await draft(client)
    theirs = other_tenant.client

    answers = [
        await theirs.get(f"/admin/push/{created['id']}"),
        await theirs.post(f"/admin/push/{created['id']}/send"),
        await theirs.get(f"/admin/push/{created['id']}/deliveries"),
    ]

    assert [code(answer) for answer in answers] == [(404, "NOT_FOUND")] * 3
    assert (await theirs.get("/admin/push")).json()["data"] == []


async def test_both_doors_lead_to_the_same_campaign(tenant: Tenant) -> None:
    door = f"{tenant.door}/push/campaigns"
    created = (await tenant.client.post(door, json=WIN_BACK)).json()["data"]

    through_path = await tenant.client.get(f"{door}/{created['id']}")
    through_key = await tenant.client.get(f"/admin/push/{created['id']}")

    assert through_path.json() == through_key.json()


async def test_the_list_is_newest_first_in_pages(client: AsyncClient) -> None:
    made = [(await draft(client, name=f"campaign {n}"))["id"] for n in range(5)]

    first = (await client.get("/admin/push", params={"limit": 3})).json()
    rest = (
        await client.get("/admin/push", params={"limit": 3, "cursor": first["next_cursor"]})
    ).json()

    assert [one["id"] for one in first["data"] + rest["data"]] == made[::-1]
    assert rest["next_cursor"] is None


async def test_the_list_is_filtered(client: AsyncClient) -> None:
    await client.post("/admin/segments", json=INACTIVE)
    plain = await draft(client, name="100% off")
    timed = await draft(client, name="later", scheduled_at=in_(days=1))
    aimed = await draft(client, name="aimed", segment_id="seg_inactive_7d")

    async def found(**wanted: str) -> list[object]:
        answer = await client.get("/admin/push", params=wanted)
        return [one["id"] for one in answer.json()["data"]]

    assert await found(status="scheduled") == [timed["id"]]
    assert await found(segment_id="seg_inactive_7d") == [aimed["id"]]
    assert await found(q="100%") == [plain["id"]]
    assert await found(q="WELCOME") == [aimed["id"], timed["id"], plain["id"]]


@pytest.mark.parametrize("cursor", ["nonsense", "WyJhIl0=", "e30="])
async def test_a_cursor_that_is_not_ours_is_refused(client: AsyncClient, cursor: str) -> None:
    answer = await client.get("/admin/push", params={"cursor": cursor})

    assert code(answer) == (400, "INVALID_INPUT")


async def test_when_temporal_is_away_nothing_is_half_done(app: FastAPI, tenant: Tenant) -> None:
    created = await draft(tenant.client)
    resources: Resources = app.state.resources
    away = create_app(replace(resources, temporal=NO_TEMPORAL))
    away_client = open_client(away, tenant.key)

    sending = await away_client.post(f"/admin/push/{created['id']}/send")
    scheduling = await away_client.post(
        "/admin/push", json={**WIN_BACK, "scheduled_at": in_(days=1)}
    )

    assert code(sending) == code(scheduling) == (503, "TEMPORAL_UNAVAILABLE")
    assert int(sending.headers["Retry-After"]) > 0
    listed = (await tenant.client.get("/admin/push")).json()["data"]
    assert [(one["id"], one["status"]) for one in listed] == [(created["id"], "draft")]
    assert (await tenant.client.post(f"/admin/push/{created['id']}/send")).status_code == 202
