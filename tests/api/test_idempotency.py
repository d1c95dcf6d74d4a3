"""The same request twice is answered once."""

import asyncio
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from fanfare.db import idempotency
from fanfare.db.engine import Database
from fanfare.models import ProjectCtx
from tests.api.conftest import Tenant, own_segments, restricted

BODY = {"name": "s", "rules": {"field": "email", "op": "exists"}}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_same_request_gets_the_stored_answer(client: AsyncClient) -> None:
    first = await client.post("/admin/segments", json=BODY, headers=keyed("a"))

    second = await client.post("/admin/segments", json=BODY, headers=keyed("a"))

    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(await own_segments(client)) == 1


async def test_another_body_or_path_with_the_key_is_refused(client: AsyncClient) -> None:
    await client.post("/admin/segments", json=BODY, headers=keyed("a"))

    body = await client.post("/admin/segments", json=BODY | {"name": "t"}, headers=keyed("a"))
    path = await client.post("/admin/keys", json=BODY, headers=keyed("a"))

    assert [body.status_code, path.status_code] == [422, 422]
    assert body.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_of_fifty_at_once_one_runs_and_all_get_its_answer(client: AsyncClient) -> None:
    calls = [client.post("/admin/segments", json=BODY, headers=keyed("a")) for _ in range(50)]

    answers = await asyncio.gather(*calls)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count("true") == 49
    assert len(await own_segments(client)) == 1


async def test_fifty_sends_at_once_with_one_key_are_answered_alike(client: AsyncClient) -> None:
    created = await client.post("/admin/push", json={"title": "t", "body": "b"})
    path = f"/admin/push/{created.json()['data']['id']}/send"

    answers = await asyncio.gather(*(client.post(path, headers=keyed("a")) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1


async def test_refused_request_succeeds_with_its_key_once_the_cause_is_mended(
    client: AsyncClient,
) -> None:
    campaign = {"title": "t", "body": "b", "segment_id": "seg_late"}
    refused = await client.post("/admin/push", json=campaign, headers=keyed("a"))
    await client.post("/admin/segments", json=BODY | {"id": "seg_late"})

    made = await client.post("/admin/push", json=campaign, headers=keyed("a"))
    again = await client.post("/admin/push", json=campaign, headers=keyed("a"))

    assert [refused.status_code, made.status_code, again.status_code] == [404, 201, 201]
    assert "Idempotent-Replayed" not in made.headers
    assert again.json() == made.json()


async def test_refusal_leaves_its_key_to_another_request(client: AsyncClient) -> None:
    refused = await client.post("/admin/segments", json=BODY | {"rules": {}}, headers=keyed("a"))

    other = await client.post("/admin/segments", json=BODY, headers=keyed("a"))

    assert [refused.status_code, other.status_code] == [400, 201]


async def test_key_of_another_project_is_another_key(tenant: Tenant, other_tenant: Tenant) -> None:
    key = keyed(uuid4().hex)
    await other_tenant.client.post("/admin/segments", json=BODY, headers=key)

    answer = await tenant.client.post("/admin/segments", json=BODY, headers=key)

    assert "Idempotent-Replayed" not in answer.headers


async def test_replay_asks_for_the_scope_again(app: FastAPI, tenant: Tenant) -> None:
    body = {"name": "k", "scopes": ["admin"]}
    await tenant.client.post("/admin/keys", json=body, headers=keyed("a"))

    async with await restricted(app, tenant, "audience:write") as weaker:
        answer = await weaker.post("/admin/keys", json=body, headers=keyed("a"))

    assert answer.status_code == 403


async def test_stored_answer_does_not_hold_a_secret_in_the_clear(
    tenant: Tenant, api_database: Database
) -> None:
    body = {"name": "k", "scopes": ["admin"]}
    made = await tenant.client.post("/admin/keys", json=body, headers=keyed("a"))

    project = ProjectCtx(UUID(tenant.project_id))
    async with api_database.project(project) as conn:
        stored = await conn.scalar(sa.text("SELECT response FROM idempotency_keys"))

    assert made.json()["data"]["secret"].encode() not in stored
    again = await tenant.client.post("/admin/keys", json=body, headers=keyed("a"))
    assert again.json() == made.json()


@pytest.mark.parametrize("key", ["", "x" * 256, "with space"])
async def test_key_that_cannot_be_used_is_refused(client: AsyncClient, key: str) -> None:
    answer = await client.post("/admin/segments", json=BODY, headers=keyed(key))

    assert answer.status_code == 400


async def test_operator_has_keys_too(operator: AsyncClient) -> None:
    key = keyed(uuid4().hex)

    first = await operator.post("/admin/projects", json={"name": "x"}, headers=key)
    second = await operator.post("/admin/projects", json={"name": "x"}, headers=key)

    assert first.json() == second.json()


async def test_answer_is_forgotten_after_thirty_days(
    tenant: Tenant, api_database: Database, database: Database
) -> None:
    await tenant.client.post("/admin/segments", json=BODY, headers=keyed("a"))
    project = ProjectCtx(UUID(tenant.project_id))
    age = sa.text("UPDATE idempotency_keys SET created_at = now() - interval '31 days'")
    async with api_database.project(project) as conn:
        await conn.execute(age)

    async with database.transaction() as conn:
        deleted = await idempotency.delete_expired(conn)

    again = await tenant.client.post("/admin/segments", json=BODY, headers=keyed("a"))
    assert deleted == 1
    assert "Idempotent-Replayed" not in again.headers
