"""Neither what is sent, nor to whom, nor a key gets into a log or into Temporal, in trouble too."""

import asyncio
import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import httpx
import psycopg
import pytest
from temporalio.client import Client

from fanfare.api_keys import split
from fanfare.dev.api_client import NewProject
from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Stack
from tests.e2e.waiting import until_status
from workflows import starter

USER = "canary-user-7319"
TOKEN = "f00dca11" * 8
# What the simulator refuses: no device, and no token of its.
DEAD_TOKEN = "dead" + "ca11ab1e" * 7 + "beef"
BAD_TOKEN = "bad0" + "ca11ab1e" * 7 + "beef"
FCM_TOKEN = "canary-fcm-7319:APA91b" + "x" * 120
DEAD_FCM_TOKEN = "dead-canary-fcm-7319:APA91b" + "x" * 120
IOS = (TOKEN, DEAD_TOKEN, BAD_TOKEN)
ANDROID = (FCM_TOKEN, DEAD_FCM_TOKEN)
TITLE, BODY, VALUE = "canary-title-7319", "canary-body-7319", "canary-data-7319"
SENT = (USER, *IOS, "canary-fcm-7319", TITLE, BODY, VALUE)
# A row that cannot be: what PostgreSQL says of it quotes it.
CLASH = """
INSERT INTO push_tokens (project_id, app_user_id, token, provider, environment, platform)
SELECT project_id, app_user_id, token, provider, environment, platform FROM push_tokens
WHERE token = %s LIMIT 1
"""


@pytest.fixture
def campaign_id(http: httpx.Client) -> str:
    """A campaign that was sent, after a test push, with canaries wherever a secret can stand, and
    with refusals."""
    devices = [{"token": token, "platform": "ios"} for token in IOS]
    devices += [{"token": token, "platform": "android"} for token in ANDROID]
    for device in devices:
        http.post(f"/admin/users/{USER}/push-tokens", json=device)
    message = {"title": TITLE, "body": BODY, "data": {"key": VALUE}}
    target = {"device_token": TOKEN, "provider": "apns"}
    assert http.post("/admin/push/test", json={**message, **target}).status_code == 200
    created = http.post("/admin/push", json=message).json()["data"]
    http.post(f"/admin/push/{created['id']}/send")
    until_status(http, created["id"], "sent")
    return str(created["id"])


@pytest.fixture
def canaries(stack: Stack, project: NewProject) -> Mapping[str, str]:
    """Everything that nobody may read, by the name of what it is."""
    secrets = stack.secrets
    account = json.loads((stack.account / "service-account.json").read_text())
    return {
        **{f"sent {number}": text for number, text in enumerate(SENT)},
        "API key": _secret_of(project.api_key),
        "operator key": _secret_of(secrets.operator_key),
        "key-encryption key": secrets.kek.partition(":")[2],
        "pepper": secrets.key_pepper,
        "database password": secrets.database_password,
        "APNs key": _middle_of((stack.account / "AuthKey.p8").read_text()),
        "service account": _middle_of(account["private_key"]),
        "any key": "PRIVATE KEY",
    }


def test_logs_hold_no_secret(stack: Stack, campaign_id: str, canaries: Mapping[str, str]) -> None:
    logs = {part.name: part.log.read_text() for part in _writing(stack)}

    found = {(name, what) for name, log in logs.items() for what in _found(canaries, log)}

    assert found == set()
    assert "campaign_sent" in "".join(logs.values())


def test_log_of_postgres_quotes_no_row(stack: Stack, campaign_id: str) -> None:
    with psycopg.connect(stack.database_url) as conn, pytest.raises(psycopg.IntegrityError):
        conn.execute(CLASH, [DEAD_TOKEN])

    log = stack.postgres.log.read_text()
    assert "violates" in log
    assert DEAD_TOKEN not in log


def test_history_holds_no_secret(
    stack: Stack, campaign_id: str, canaries: Mapping[str, str]
) -> None:
    histories = asyncio.run(_histories(stack.temporal_address, UUID(campaign_id)))

    assert "send_batch" in histories
    assert f'"campaign_id":"{campaign_id}"' in histories
    assert _found(canaries, histories) == []


def test_file_of_temporal_holds_no_secret(
    stack: Stack, campaign_id: str, canaries: Mapping[str, str]
) -> None:
    files = sorted(stack.home.glob("temporal.db*"))

    state = b"".join(file.read_bytes() for file in files).decode("latin-1")

    assert campaign_id in state
    assert _found(canaries, state) == []


def _writing(stack: Stack) -> Iterator[ChildProcess]:
    yield stack.api
    yield stack.postgres
    yield stack.temporal
    yield from stack.workers


def _found(canaries: Mapping[str, str], text: str) -> Sequence[str]:
    """The names of those that are in the text: what fails a test is printed too."""
    return [what for what, canary in canaries.items() if canary in text]


def _secret_of(key: str) -> str:
    parts = split(key)
    assert parts is not None
    return parts[1]


def _middle_of(pem: str) -> str:
    """A line of a key that is in no other key."""
    lines = pem.split("\n")
    return lines[len(lines) // 2]


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
