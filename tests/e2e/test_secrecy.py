"""Neither token, title nor body gets into a log or into Temporal's history."""

import asyncio
import base64
import re
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from temporalio.client import Client

from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Stack
from tests.e2e.waiting import until_status
from workflows import starter

TOKEN = "f00dca11" * 8
DEAD_TOKEN = "dead" + "ca11ab1e" * 7 + "beef"
TITLE, BODY, VALUE = "canary-title-7319", "canary-body-7319", "canary-data-7319"
CANARIES = (TOKEN, DEAD_TOKEN, TITLE, BODY, VALUE, "PRIVATE KEY")


@pytest.fixture
def campaign_id(http: httpx.Client) -> str:
    """A campaign that was sent, after a test push, with canaries wherever a secret can stand."""
    for token in (TOKEN, DEAD_TOKEN):
        device = {"token": token, "platform": "ios"}
        http.post("/admin/users/canary/push-tokens", json=device)
    message = {"title": TITLE, "body": BODY, "data": {"key": VALUE}}
    target = {"device_token": TOKEN, "provider": "apns"}
    assert http.post("/admin/push/test", json={**message, **target}).status_code == 200
    created = http.post("/admin/push", json=message).json()["data"]
    http.post(f"/admin/push/{created['id']}/send")
    until_status(http, created["id"], "sent")
    return str(created["id"])


def test_logs_hold_no_secret(stack: Stack, campaign_id: str) -> None:
    logs = {part.name: part.log.read_text() for part in _ours(stack)}

    found = {(name, canary) for name, log in logs.items() for canary in CANARIES if canary in log}

    assert found == set()
    assert "campaign_sent" in "".join(logs.values())


def test_temporal_holds_no_secret(stack: Stack, campaign_id: str) -> None:
    histories = asyncio.run(_histories(stack.temporal_address, UUID(campaign_id)))

    assert "send_batch" in histories
    assert f'"campaign_id":"{campaign_id}"' in histories
    assert [canary for canary in CANARIES if canary in histories] == []


def _ours(stack: Stack) -> Iterator[ChildProcess]:
    yield stack.api
    yield from stack.workers


async def _histories(address: str, campaign_id: UUID) -> str:
    client = await Client.connect(address)
    campaign = client.get_workflow_handle(starter.workflow_id(campaign_id))
    texts = [_readable((await campaign.fetch_history()).to_json())]
    async for run in client.list_workflows("WorkflowType = 'SendTestPush'"):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        texts.append(_readable((await handle.fetch_history()).to_json()))
    return "\n".join(texts)


def _readable(history: str) -> str:
    """A history with its payloads, which it holds in base64, decoded beside it."""
    payloads = re.findall(r'"data": *"([A-Za-z0-9+/=]*)"', history)
    return history + "".join(base64.b64decode(data).decode() for data in payloads)
