"""An audience to preview, credentials to reach it, and a campaign for it."""

from typing import Any
from uuid import uuid4

import orjson
from httpx import AsyncClient

from tests.api.test_credentials import ACCOUNT, APNS

HELLO = {"title": "Hello", "body": "Version 2 is here."}
NDJSON = {"Content-Type": "application/x-ndjson"}

Json = dict[str, Any]  # Any: JSON


def ios(**more: object) -> Json:
    """An iPhone that nobody else has."""
    return {"token": uuid4().hex, "platform": "ios", **more}


def android() -> Json:
    """Another phone."""
    return {"token": uuid4().hex, "platform": "android"}


async def people(client: AsyncClient, count: int, **more: object) -> None:
    """So many new users with one Android phone each."""
    await load(client, *({"push_tokens": [android()], **more} for _ in range(count)))


async def load(client: AsyncClient, *users: Json) -> None:
    """Import these users under names of their own."""
    lines = [{"external_id": uuid4().hex, **user} for user in users]
    content = b"\n".join(map(orjson.dumps, lines))
    answer = await client.post("/admin/import", content=content, headers=NDJSON)
    assert answer.json()["data"]["failed"] == 0, answer.text


async def credentials(client: AsyncClient, *, per_minute: int | None = None) -> None:
    """Credentials for FCM and APNs in production."""
    limits = {"messages_per_minute": per_minute, "ramp_seconds": 0}
    fcm = {"service_account_json": ACCOUNT, "limits": limits}
    apns = {**APNS, "limits": limits}
    answers = [
        await client.put("/admin/credentials/fcm", json=fcm),
        await client.put("/admin/credentials/apns", json=apns),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]


async def draft(client: AsyncClient, **more: object) -> str:
    """A campaign's id."""
    answer = await client.post("/admin/push", json={**HELLO, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def preview(client: AsyncClient, **body: object) -> Json:
    """What the preview says."""
    answer = await client.post("/admin/push/preview", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["data"]
    return found
