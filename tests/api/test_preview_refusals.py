"""What has no preview, and who gets none."""

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from fanfare.db.engine import Database
from fanfare.db.tables import push_campaigns
from tests.api.conftest import Tenant, restricted
from tests.api.previewing import HELLO, draft
from tests.api.test_campaigns import code

NOWHERE = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("status", ["sending", "sent", "cancelled"])
async def test_what_cannot_be_sent_any_more_has_no_preview(
    client: AsyncClient, database: Database, status: str
) -> None:
    campaign_id = await draft(client)
    async with database.transaction() as conn:
        changing = sa.update(push_campaigns).where(push_campaigns.c.id == campaign_id)
        await conn.execute(changing.values(status=status))

    answer = await client.post("/admin/push/preview", json={"campaign_id": campaign_id})

    assert code(answer) == (409, "ALREADY_SENT")


@pytest.mark.parametrize(
    ("body", "expected", "path"),
    [
        ({"campaign_id": NOWHERE, "title": "x"}, (400, "INVALID_INPUT"), "body.title"),
        ({"campaign_id": "x"}, (400, "INVALID_INPUT"), "body.campaign_id"),
        ({"title": "x"}, (400, "INVALID_INPUT"), "body.body"),
        ({**HELLO, "sound": "x"}, (400, "INVALID_INPUT"), "body.sound"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(
    client: AsyncClient, body: object, expected: tuple[int, str], path: str
) -> None:
    answer = await client.post("/admin/push/preview", json=body)

    assert code(answer) == expected
    assert [each["path"] for each in answer.json()["error"]["details"]["fields"]] == [path]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"campaign_id": NOWHERE}, (404, "NOT_FOUND")),
        ({**HELLO, "segment_id": "seg_none"}, (404, "SEGMENT_NOT_FOUND")),
        ({**HELLO, "scheduled_at": "2020-01-01T00:00:00Z"}, (400, "SCHEDULED_AT_IN_PAST")),
        ({**HELLO, "scheduled_at": "tomorrow"}, (400, "INVALID_SCHEDULED_AT")),
        ({**HELLO, "data": {"aps": 1}}, (400, "RESERVED_DATA_KEY")),
        ({**HELLO, "data": {"x": "x" * 4096}}, (413, "PAYLOAD_TOO_LARGE")),
    ],
)
async def test_what_create_refuses_is_refused(
    client: AsyncClient, body: object, expected: tuple[int, str]
) -> None:
    answer = await client.post("/admin/push/preview", json=body)

    assert code(answer) == expected


async def test_another_projects_campaign_is_not_there(tenant: Tenant, other_tenant: Tenant) -> None:
    theirs = await draft(other_tenant.client)

    answer = await tenant.client.post("/admin/push/preview", json={"campaign_id": theirs})

    assert code(answer) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("scope", "status"),
    [("campaigns:send", 200), ("campaigns:write", 200), ("campaigns:read", 403)],
)
async def test_who_may_send_or_schedule_may_preview(
    app: FastAPI, tenant: Tenant, scope: str, status: int
) -> None:
    async with await restricted(app, tenant, scope) as client:
        answer = await client.post("/admin/push/preview", json=HELLO)

    assert answer.status_code == status
