"""What operators do to campaigns, through every process: many at once, and often."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from temporalio.client import Client

from fanfare.dev.api_client import ApiClient, NewProject
from fanfare.dev.reconciliation import read_account, reconcile
from fanfare.dev.stack import Stack
from tests.e2e.test_campaigns import HELLO, everyone, populate
from tests.e2e.waiting import until_over
from tests.faults import acceptances
from tests.faults.upkeep import has_taken_up
from workflows import starter

KEY = {"Idempotency-Key": "the-same-for-all"}
HOUR = timedelta(hours=1)
# Long enough to be asked of a busy machine before it has passed.
SOON = timedelta(seconds=4)
CHANGES = 10


def test_of_fifty_sends_with_one_key_one_starts_and_all_have_its_answer(
    stack: Stack, project: NewProject, api: ApiClient
) -> None:
    seed = populate(api, users=400, tokens=500)
    created = api.create_campaign(HELLO)

    answers = asyncio.run(send_at_once(stack, project, created.id, times=50, headers=KEY))
    sent = until_over(api, created.id)

    account = read_account(stack.simulator_url, str(created.id))
    replayed = Counter("Idempotent-Replayed" in answer.headers for answer in answers)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert replayed == {False: 1, True: 49}
    assert asyncio.run(workflows(stack, created.id)) == 1
    assert reconcile(everyone(seed), sent, account).discrepancies == []


def test_of_twenty_sends_without_a_key_one_starts_and_the_others_are_told_so(
    stack: Stack, project: NewProject, api: ApiClient
) -> None:
    populate(api, users=80, tokens=100)
    created = api.create_campaign(HELLO)

    answers = asyncio.run(send_at_once(stack, project, created.id, times=20, headers={}))
    until_over(api, created.id)

    refused = [answer.json()["error"]["code"] for answer in answers if answer.is_error]
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 19}
    assert set(refused) == {"ALREADY_SENT"}
    assert asyncio.run(workflows(stack, created.id)) == 1


def test_a_campaign_whose_time_is_taken_and_given_again_and_again_goes_once_at_the_last_one(
    stack: Stack, api: ApiClient
) -> None:
    seed = populate(api, users=80, tokens=100)
    created = api.create_campaign({**HELLO, "scheduled_at": later(HOUR)})

    changed = [
        api.change_campaign(created.id, {"scheduled_at": when})
        for when in [None, later(HOUR)] * CHANGES
    ]
    due = datetime.now(UTC) + SOON
    api.change_campaign(created.id, {"scheduled_at": due.isoformat()})
    sent = until_over(api, created.id)

    account = read_account(stack.simulator_url, str(created.id))
    assert [each.status for each in changed] == ["draft", "scheduled"] * CHANGES
    assert reconcile(everyone(seed), sent, account).discrepancies == []
    assert min(acceptances.moments(stack.simulator_url, created.id)) >= due.timestamp()
    assert not has_taken_up(stack, created.id)


def test_a_campaign_whose_time_is_moved_again_and_again_goes_once_at_the_last_one(
    stack: Stack, api: ApiClient
) -> None:
    seed = populate(api, users=80, tokens=100)
    created = api.create_campaign({**HELLO, "scheduled_at": later(HOUR)})

    for number in range(CHANGES):
        api.change_campaign(created.id, {"scheduled_at": later(HOUR * (1 + number % 2))})
    due = datetime.now(UTC) + SOON
    api.change_campaign(created.id, {"scheduled_at": due.isoformat()})
    sent = until_over(api, created.id)

    account = read_account(stack.simulator_url, str(created.id))
    assert reconcile(everyone(seed), sent, account).discrepancies == []
    assert min(acceptances.moments(stack.simulator_url, created.id)) >= due.timestamp()
    assert asyncio.run(workflows(stack, created.id)) == 1


def test_the_workflow_of_a_scheduled_campaign_that_is_deleted_ends_and_sends_nothing(
    stack: Stack, api: ApiClient
) -> None:
    populate(api, users=80, tokens=100)
    created = api.create_campaign({**HELLO, "scheduled_at": later(SOON)})

    api.delete_campaign(created.id)
    ended = asyncio.run(ending(stack, created.id))

    assert ended == "removed"
    assert read_account(stack.simulator_url, str(created.id)).stats.accepted == 0


def test_a_draft_that_was_scheduled_once_sends_nothing_at_that_time(
    stack: Stack, api: ApiClient
) -> None:
    populate(api, users=80, tokens=100)
    created = api.create_campaign({**HELLO, "scheduled_at": later(SOON)})

    draft = api.change_campaign(created.id, {"scheduled_at": None})
    ended = asyncio.run(ending(stack, created.id))

    assert draft.status == "draft"
    assert ended == "a draft again"
    assert read_account(stack.simulator_url, str(created.id)).stats.accepted == 0


def later(time: timedelta) -> str:
    """A moment that is so much later than now, as callers say it."""
    return (datetime.now(UTC) + time).isoformat()


async def send_at_once(
    stack: Stack,
    project: NewProject,
    campaign_id: UUID,
    *,
    times: int,
    headers: Mapping[str, str],
) -> Sequence[httpx.Response]:
    headers = {"Authorization": f"Bearer {project.api_key}", **headers}
    async with httpx.AsyncClient(
        base_url=stack.api_url, headers=headers, timeout=60, trust_env=False
    ) as client:
        sends = (client.post(f"/admin/push/{campaign_id}/send") for _ in range(times))
        return await asyncio.gather(*sends)


async def ending(stack: Stack, campaign_id: UUID) -> str:
    """How the campaign's last workflow ends, in a word."""
    temporal = await Client.connect(stack.temporal_address)
    handle = temporal.get_workflow_handle(starter.workflow_id(campaign_id))
    async with asyncio.timeout(60):
        return str(await handle.result())


async def workflows(stack: Stack, campaign_id: UUID) -> int:
    """How many workflows the campaign had; runs of one that goes on in the next are one."""
    temporal = await Client.connect(stack.temporal_address)
    campaign = f'WorkflowId = "{starter.workflow_id(campaign_id)}"'
    counted = await temporal.count_workflows(f'{campaign} AND ExecutionStatus != "ContinuedAsNew"')
    return counted.count
