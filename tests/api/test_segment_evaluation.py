"""Evaluating a segment at once: through a worker, or in a while."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from temporalio.testing import WorkflowEnvironment

from activities.segments import Segments
from api.app import create_app
from api.resources import Resources
from fanfare.db.engine import Database
from fanfare.db.read_pool import ReadPool
from tests.api.conftest import KEY_RING, NO_TEMPORAL, OPERATOR_KEY, Tenant, new_tenant, open_client
from tests.workflows.refreshing import refreshing
from workflows import refreshes

PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}


@pytest.fixture
def working_app(
    api_database: Database, reads: ReadPool, temporal_env: WorkflowEnvironment
) -> FastAPI:
    return create_app(
        Resources(
            database=api_database,
            reads=reads,
            temporal=temporal_env.client,
            key_ring=KEY_RING,
            pepper=b"p" * 32,
            operator_key=OPERATOR_KEY,
        )
    )


@pytest.fixture
async def working_tenant(
    working_app: FastAPI, database: Database, temporal_env: WorkflowEnvironment
) -> AsyncIterator[Tenant]:
    """A project that a worker works for."""
    async with (
        open_client(working_app, OPERATOR_KEY) as operator,
        refreshing(temporal_env.client, Segments(database)),
    ):
        tenant = await new_tenant(working_app, operator)
        async with tenant.client:
            yield tenant


async def test_an_evaluated_segment_knows_its_count(working_tenant: Tenant) -> None:
    client = working_tenant.client
    await client.put("/admin/users/ada", json={"properties": {"plan": "pro"}})
    await client.put("/admin/users/bob", json={"properties": {"plan": "free"}})
    await client.post("/admin/segments", json={"id": "seg_pro", "name": "Pro", "rules": PRO})

    evaluated = await client.post("/admin/segments/seg_pro/evaluate")

    segment = evaluated.json()["data"]
    assert (evaluated.status_code, segment["user_count"]) == (200, 1)
    assert segment["last_evaluated_at"] is not None
    assert (await client.get("/admin/segments/seg_pro")).json()["data"] == segment


async def test_a_system_segment_is_evaluated_like_any_other(working_tenant: Tenant) -> None:
    client = working_tenant.client
    await client.put("/admin/users/ada", json={})

    evaluated = await client.post("/admin/segments/seg_all/evaluate")

    assert evaluated.json()["data"]["user_count"] == 1


async def test_changed_rules_have_no_count_until_they_are_evaluated(
    working_tenant: Tenant,
) -> None:
    client = working_tenant.client
    await client.put("/admin/users/ada", json={"properties": {"plan": "pro"}})
    await client.post("/admin/segments", json={"id": "seg_pro", "name": "Pro", "rules": PRO})
    await client.post("/admin/segments/seg_pro/evaluate")

    rules = {"operator": "NOT", "conditions": [PRO]}
    changed = await client.patch("/admin/segments/seg_pro", json={"rules": rules})
    evaluated = await client.post("/admin/segments/seg_pro/evaluate")

    before, after = changed.json()["data"], evaluated.json()["data"]
    assert (before["user_count"], before["last_evaluated_at"]) == (None, None)
    assert after["user_count"] == 0


async def test_an_evaluation_that_takes_longer_goes_on(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody works for this one.
    monkeypatch.setattr(refreshes, "PATIENCE", timedelta(milliseconds=50))

    answers = [await client.post("/admin/segments/seg_all/evaluate") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["data"]["user_count"] is None


async def test_a_segment_that_does_not_exist_is_not_evaluated(client: AsyncClient) -> None:
    answer = await client.post("/admin/segments/seg_none/evaluate")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "SEGMENT_NOT_FOUND")


async def test_a_new_project_is_refreshed_from_its_beginning(
    working_tenant: Tenant, temporal_env: WorkflowEnvironment
) -> None:
    handle = temporal_env.client.get_schedule_handle(
        f"refresh-segments-{working_tenant.project_id}"
    )

    assert (await handle.describe()).info.next_action_times


async def test_without_temporal_a_project_is_made_and_nothing_is_evaluated(
    api_database: Database, reads: ReadPool
) -> None:
    app = create_app(
        Resources(
            database=api_database,
            reads=reads,
            temporal=NO_TEMPORAL,
            key_ring=KEY_RING,
            pepper=b"p" * 32,
            operator_key=OPERATOR_KEY,
        )
    )

    async with open_client(app, OPERATOR_KEY) as operator:
        tenant = await new_tenant(app, operator)
        async with tenant.client as client:
            answer = await client.post("/admin/segments/seg_all/evaluate")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "TEMPORAL_UNAVAILABLE")
