"""Segments through every process: API, Temporal, a worker, PostgreSQL."""

import asyncio
from datetime import UTC, datetime

import httpx
from temporalio.client import Client

from fanfare.dev.api_client import ApiClient, NewProject
from fanfare.dev.project import SEGMENT, import_seed
from fanfare.dev.seed import Seed
from fanfare.dev.stack import Stack
from tests.workflows.refreshing import eventually
from workflows import refreshes
from workflows.deployment import UPKEEP_ID


def test_an_evaluated_segment_counts_whom_its_rule_selects(
    api: ApiClient, http: httpx.Client
) -> None:
    seed = Seed(users=400, tokens=500, now=datetime.now(UTC))
    import_seed(api, seed, lambda: None)
    api.create_segment(SEGMENT)

    previewed = http.post("/admin/segments/preview", json={"rules": SEGMENT["rules"]})
    evaluated = http.post(f"/admin/segments/{SEGMENT['id']}/evaluate")

    inactive = sum(user.is_inactive(seed.now) for user in seed.people())
    assert evaluated.status_code == 200
    assert evaluated.json()["data"]["user_count"] == inactive
    assert previewed.json()["data"]["count"] == inactive


def test_a_project_whose_schedule_was_lost_is_given_another(
    stack: Stack, project: NewProject
) -> None:
    found = asyncio.run(_lose_and_reconcile(stack.temporal_address, project))

    assert found


async def _lose_and_reconcile(temporal_address: str, project: NewProject) -> bool:
    client = await Client.connect(temporal_address)
    handle = client.get_schedule_handle(refreshes.schedule_id(project.project_id))

    async def is_scheduled() -> bool:
        return handle.id in await refreshes.schedule_ids(client)

    async def is_lost() -> bool:
        return not await is_scheduled()

    await handle.delete()
    await eventually(is_lost)
    await client.get_schedule_handle(UPKEEP_ID).trigger()
    await eventually(is_scheduled)
    return bool((await handle.describe()).info.next_action_times)
