"""Segments as they are written and read."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from fanfare.db.rows import cursor_of
from tests.api.conftest import Tenant, own_segments, restricted

RULES = {"field": "email", "op": "exists"}


async def test_segment_keeps_the_id_that_was_chosen(client: AsyncClient) -> None:
    body = {"id": "seg_mail", "name": "Has mail", "rules": RULES}

    made = await client.post("/admin/segments", json=body)
    again = await client.post("/admin/segments", json=body)

    assert made.status_code == 201
    assert (await client.get("/admin/segments/seg_mail")).json() == made.json()
    assert (again.status_code, again.json()["error"]["code"]) == (409, "SEGMENT_EXISTS")


async def test_segment_is_given_an_id(client: AsyncClient) -> None:
    made = await client.post("/admin/segments", json={"name": "s", "rules": RULES})

    assert made.json()["data"]["id"].startswith("seg_")


async def test_bad_rules_are_refused_with_the_path_of_the_fault(client: AsyncClient) -> None:
    rules = {"operator": "AND", "conditions": [{"field": "emial", "op": "exists"}]}

    answer = await client.post("/admin/segments", json={"name": "s", "rules": rules})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "INVALID_SEGMENT_RULES")
    assert error["details"]["path"] == "/conditions/0/field"


async def test_rules_that_are_too_deep_have_a_code_of_their_own(client: AsyncClient) -> None:
    group = '{"operator": "AND", "conditions": ['
    rules = group * 6 + "]}" * 6
    content = f'{{"name": "s", "rules": {rules}}}'
    headers = {"Content-Type": "application/json"}

    answer = await client.post("/admin/segments", content=content, headers=headers)

    assert answer.json()["error"]["code"] == "SEGMENT_RULES_TOO_DEEP"


async def test_segments_come_in_pages(client: AsyncClient) -> None:
    ids = ["seg_a", "seg_b", "seg_c"]
    _ = [
        await client.post("/admin/segments", json={"id": each, "name": each, "rules": RULES})
        for each in ids
    ]

    first = (await client.get("/admin/segments", params={"limit": 2})).json()
    rest = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await client.get("/admin/segments", params=rest)).json()

    assert [each["id"] for each in first["data"] + second["data"]][:3] == ids[::-1]


@pytest.mark.parametrize("path", ["/admin/segments", "/admin/keys"])
@pytest.mark.parametrize(
    "values",
    [
        ["2026-01-01T00:00:00+00:00", "\0"],
        ["\0", "seg_a"],
        ["no time", "seg_a"],
        ["2026-01-01T00:00:00", "seg_a"],
        ["0001-01-01T00:00:00+01:00", "seg_a"],
        ["2026-01-01T00:00:00+00:00"],
        [1, 2],
    ],
)
async def test_forged_cursor_is_refused(
    client: AsyncClient, path: str, values: list[object]
) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()

    answer = await client.get(path, params={"cursor": cursor})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")


async def test_cursor_with_an_offset_that_only_python_reads_is_taken(client: AsyncClient) -> None:
    cursor = cursor_of("2026-01-01T00:00:00+00:00:00.000001", "seg_a")

    assert (await client.get("/admin/segments", params={"cursor": cursor})).status_code == 200


async def test_segment_of_another_project_does_not_exist(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    body = {"id": "seg_theirs", "name": "s", "rules": RULES}
    await other_tenant.client.post("/admin/segments", json=body)

    answer = await tenant.client.get("/admin/segments/seg_theirs")

    assert answer.status_code == 404


async def test_every_project_begins_with_the_system_segments(client: AsyncClient) -> None:
    found = (await client.get("/admin/segments")).json()["data"]

    assert {each["id"] for each in found} == SYSTEM
    assert all(each["is_system"] for each in found)
    assert [each["user_count"] for each in found] == [None] * len(SYSTEM)


SYSTEM = {
    "seg_all",
    "seg_active_7d",
    "seg_active_30d",
    "seg_churning",
    "seg_premium",
    "seg_free",
    "seg_new_users",
}


@pytest.mark.parametrize(
    ("segment_id", "members"),
    [
        ("seg_all", {"today", "last_week", "long_ago", "never"}),
        ("seg_active_7d", {"today"}),
        ("seg_active_30d", {"today", "last_week"}),
        ("seg_churning", {"long_ago", "never"}),
        ("seg_premium", {"today"}),
        ("seg_free", {"last_week", "long_ago", "never"}),
        ("seg_new_users", {"today"}),
    ],
)
async def test_a_system_segment_holds_whom_its_name_says(
    client: AsyncClient, segment_id: str, members: set[str]
) -> None:
    _ = [
        await client.put(f"/admin/users/{name}", json=_seen(days_ago))
        for name, days_ago in {"today": 0, "last_week": 10, "long_ago": 50, "never": None}.items()
    ]
    active = {"entitlements": [{"entitlement_id": "premium"}]}
    run_out = {"entitlements": [{"entitlement_id": "premium", "is_active": False}]}
    await client.put("/admin/users/today/entitlements", json=active)
    await client.put("/admin/users/long_ago/entitlements", json=run_out)

    found = await client.get("/admin/users", params={"segment_id": segment_id})

    assert {each["external_id"] for each in found.json()["data"]} == members


def _seen(days_ago: int | None) -> dict[str, object]:
    if days_ago is None:
        return {}
    moment = (datetime.now(UTC) - timedelta(days=days_ago, minutes=1)).isoformat()
    return {"first_seen_at": moment, "last_seen_at": moment}


@pytest.mark.parametrize("segment_id", sorted(SYSTEM))
async def test_a_system_segment_is_read_only(client: AsyncClient, segment_id: str) -> None:
    path = f"/admin/segments/{segment_id}"
    before = (await client.get(path)).json()

    changed = await client.patch(path, json={"name": "Mine"})
    deleted = await client.delete(path)

    refusals = [(each.status_code, each.json()["error"]["code"]) for each in (changed, deleted)]
    assert refusals == [(403, "SYSTEM_SEGMENT")] * 2
    assert (await client.get(path)).json() == before


async def test_the_id_of_a_system_segment_is_taken(client: AsyncClient) -> None:
    body = {"id": "seg_all", "name": "s", "rules": RULES}

    answer = await client.post("/admin/segments", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "SEGMENT_EXISTS")


async def test_what_a_patch_leaves_out_stays(client: AsyncClient) -> None:
    body = {"id": "seg_a", "name": "A", "description": "as it was", "rules": RULES}
    made = (await client.post("/admin/segments", json=body)).json()["data"]

    renamed = (await client.patch("/admin/segments/seg_a", json={"name": "B"})).json()["data"]
    cleared = await client.patch("/admin/segments/seg_a", json={"description": None})

    assert renamed == {**made, "name": "B", "updated_at": renamed["updated_at"]}
    assert renamed["updated_at"] > made["updated_at"]
    assert (cleared.json()["data"]["name"], cleared.json()["data"]["description"]) == ("B", None)


async def test_patched_rules_are_what_the_segment_means_from_then_on(client: AsyncClient) -> None:
    await client.put("/admin/users/with", json={"email": "a@example.com"})
    await client.put("/admin/users/without", json={})
    await client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": RULES})

    other = {"field": "email", "op": "not_exists"}
    changed = await client.patch("/admin/segments/seg_a", json={"rules": other})

    found = (await client.get("/admin/users", params={"segment_id": "seg_a"})).json()["data"]
    assert changed.json()["data"]["rules"] == other
    assert [each["external_id"] for each in found] == ["without"]


@pytest.mark.parametrize(
    "patch",
    [{"id": "seg_b"}, {"is_system": True}, {"user_count": 5}, {"name": None}, {"name": ""}],
)
async def test_a_patch_of_anything_else_is_refused(
    client: AsyncClient, patch: dict[str, object]
) -> None:
    await client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": RULES})

    answer = await client.patch("/admin/segments/seg_a", json=patch)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")


async def test_a_patch_with_bad_rules_changes_nothing(client: AsyncClient) -> None:
    body = {"id": "seg_a", "name": "A", "rules": RULES}
    made = (await client.post("/admin/segments", json=body)).json()
    patch = {"name": "B", "rules": {"field": "emial", "op": "exists"}}

    answer = await client.patch("/admin/segments/seg_a", json=patch)

    assert (answer.status_code, answer.json()["error"]["details"]["path"]) == (400, "/field")
    assert (await client.get("/admin/segments/seg_a")).json() == made


async def test_a_deleted_segment_is_gone(client: AsyncClient) -> None:
    await client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": RULES})

    deleted = await client.delete("/admin/segments/seg_a")

    assert deleted.status_code == 204
    assert (await client.get("/admin/segments/seg_a")).status_code == 404
    assert (await client.delete("/admin/segments/seg_a")).status_code == 404


@pytest.mark.parametrize("scheduled_at", [None, "2027-04-20T09:00:00Z"])
async def test_a_segment_that_a_campaign_is_to_be_sent_to_stays(
    client: AsyncClient, scheduled_at: str | None
) -> None:
    await client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": RULES})
    campaign = {"title": "t", "body": "b", "segment_id": "seg_a", "scheduled_at": scheduled_at}
    made = (await client.post("/admin/push", json=campaign)).json()["data"]

    answer = await client.delete("/admin/segments/seg_a")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "SEGMENT_IN_USE")
    assert error["details"]["campaigns"] == [made["id"]]
    assert (await client.get("/admin/segments/seg_a")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/segments/seg_theirs", None),
        ("PATCH", "/admin/segments/seg_theirs", {"name": "Mine"}),
        ("DELETE", "/admin/segments/seg_theirs", None),
        ("POST", "/admin/segments/seg_theirs/evaluate", None),
    ],
)
async def test_a_segment_of_another_project_cannot_be_reached(
    tenant: Tenant, other_tenant: Tenant, method: str, path: str, body: object
) -> None:
    theirs = {"id": "seg_theirs", "name": "s", "rules": RULES}
    made = (await other_tenant.client.post("/admin/segments", json=theirs)).json()

    answer = await tenant.client.request(method, path, json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "SEGMENT_NOT_FOUND")
    assert (await other_tenant.client.get("/admin/segments/seg_theirs")).json() == made


async def test_who_may_only_read_changes_nothing(app: FastAPI, tenant: Tenant) -> None:
    await tenant.client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": RULES})

    async with await restricted(app, tenant, "audience:read") as reader:
        answers = [
            await reader.patch("/admin/segments/seg_a", json={"name": "B"}),
            await reader.delete("/admin/segments/seg_a"),
            await reader.post("/admin/segments/seg_a/evaluate"),
            await reader.post("/admin/segments/preview", json={"rules": RULES}),
        ]

    assert [each.status_code for each in answers] == [403, 403, 403, 200]


async def test_a_list_of_a_thousand_long_values_is_taken(client: AsyncClient) -> None:
    values = [f"{number:0500}" for number in range(1_000)]
    rules = {"field": "properties.p", "op": "in", "value": values}

    made = await client.post("/admin/segments", json={"name": "s", "rules": rules})

    assert made.status_code == 201
    assert len(await own_segments(client)) == 1
