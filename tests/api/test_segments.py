"""Segments as they are written and read."""

import base64
import json

import pytest
from httpx import AsyncClient

from fanfare.db.rows import cursor_of
from tests.api.conftest import Tenant

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

    assert [each["id"] for each in first["data"] + second["data"]] == ids[::-1]


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
