"""Campaigns through every process: API, Temporal, PostgreSQL, two workers, both providers."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import psycopg
import pytest
from temporalio.client import Client

from fanfare.dev.api_client import ApiClient, ApiRefused, NewProject
from fanfare.dev.project import CAMPAIGN, SEGMENT, import_seed
from fanfare.dev.reconciliation import Expected, read_account, reconcile
from fanfare.dev.seed import Seed
from fanfare.dev.stack import Stack, answers
from fanfare.ids import new_id
from tests.e2e.waiting import until_over
from workflows.deployment import UPKEEP_ID

HELLO = {"title": "Hello", "body": "Version 2 is here."}


def populate(api: ApiClient, *, users: int, tokens: int) -> Seed:
    seed = Seed(users=users, tokens=tokens, now=datetime.now(UTC), number=new_id().int % 2**32)
    import_seed(api, seed, lambda: None)
    return seed


def everyone(seed: Seed) -> Expected:
    return Expected.of([token for user in seed.people() for token in user.tokens], without=set())


def test_a_broadcast_reaches_every_device_once(stack: Stack, api: ApiClient) -> None:
    seed = populate(api, users=800, tokens=1_000)

    created = api.create_campaign(HELLO)
    api.send_campaign(created.id)
    sent = until_over(api, created.id)

    account = read_account(stack.simulator_url, str(created.id))
    assert reconcile(everyone(seed), sent, account).discrepancies == []


def test_a_segment_holds_whom_its_rule_says(stack: Stack, api: ApiClient) -> None:
    seed = populate(api, users=400, tokens=500)
    api.create_segment(SEGMENT)

    created = api.create_campaign(CAMPAIGN)
    api.send_campaign(created.id)
    sent = until_over(api, created.id)

    people = [user for user in seed.people() if user.is_inactive(seed.now)]
    expected = Expected.of([token for user in people for token in user.tokens], without=set())
    account = read_account(stack.simulator_url, str(created.id))
    assert 0 < len(expected.devices) < 500
    assert reconcile(expected, sent, account).discrepancies == []


def test_of_fifty_sends_one_starts_and_every_token_gets_one_message(
    stack: Stack, project: NewProject, api: ApiClient
) -> None:
    seed = populate(api, users=400, tokens=500)
    created = api.create_campaign(HELLO)

    answers = asyncio.run(_send_at_once(stack.api_url, project.api_key, created.id, times=50))
    sent = until_over(api, created.id)

    assert Counter(answers) == {202: 1, 409: 49}
    account = read_account(stack.simulator_url, str(created.id))
    assert reconcile(everyone(seed), sent, account).discrepancies == []


def test_while_temporal_is_away_a_send_is_refused_and_works_afterwards(
    stack: Stack, api: ApiClient
) -> None:
    seed = populate(api, users=80, tokens=100)
    created = api.create_campaign(HELLO)

    stack.temporal.kill()
    with pytest.raises(ApiRefused, match="503 TEMPORAL_UNAVAILABLE"):
        api.send_campaign(created.id)
    meanwhile = api.campaign(created.id)
    stack.temporal.start()
    stack.temporal.wait_until(lambda: answers(f"{stack.api_url}/readyz"))
    api.send_campaign(created.id)
    sent = until_over(api, created.id)

    assert meanwhile.status == "draft"
    account = read_account(stack.simulator_url, str(created.id))
    assert reconcile(everyone(seed), sent, account).discrepancies == []


def test_a_scheduled_campaign_whose_workflow_was_never_started_is_taken_up(
    stack: Stack, api: ApiClient
) -> None:
    populate(api, users=80, tokens=100)
    created = api.create_campaign(HELLO)

    with psycopg.connect(stack.database_url) as conn:
        conn.execute(
            "UPDATE push_campaigns SET status = 'sending', updated_at = now() - interval '1 hour' "
            "WHERE id = %s",
            [created.id],
        )
    asyncio.run(_run_upkeep(stack.temporal_address))
    sent = until_over(api, created.id)

    assert sent.status == "sent"
    assert sent.stats.audience == 100


def test_a_campaign_is_sent_when_its_time_has_come(stack: Stack, api: ApiClient) -> None:
    populate(api, users=80, tokens=100)
    due = datetime.now(UTC) + timedelta(seconds=2)

    created = api.create_campaign({**HELLO, "scheduled_at": due.isoformat()})
    sent = until_over(api, created.id)

    account = read_account(stack.simulator_url, str(created.id))
    assert created.status == "scheduled"
    assert sent.status == "sent"
    assert account.stats.accepted == sent.stats.sent > 0


async def _send_at_once(url: str, key: str, campaign_id: UUID, *, times: int) -> list[int]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        sends = (client.post(f"/admin/push/{campaign_id}/send") for _ in range(times))
        return [answer.status_code for answer in await asyncio.gather(*sends)]


async def _run_upkeep(temporal_address: str) -> None:
    client = await Client.connect(temporal_address)
    await client.get_schedule_handle(UPKEEP_ID).trigger()
