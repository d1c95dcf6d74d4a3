"""What a campaign would do, over HTTP: to whom, how large, how long, and when."""

import json
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from httpx import AsyncClient

from fanfare.db import audience, campaigns
from fanfare.db.audience import BatchSizes
from fanfare.db.engine import Database
from fanfare.db.tables import push_batches, push_campaigns, push_deliveries
from fanfare.models import ProjectCtx
from tests.api.conftest import Tenant
from tests.api.previewing import (
    HELLO,
    android,
    credentials,
    draft,
    ios,
    load,
    people,
    preview,
)

PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}


async def test_everyone_is_counted_in_each_way(client: AsyncClient) -> None:
    await credentials(client)
    await load(
        client,
        {"push_tokens": [ios(), android()]},
        {"push_tokens": [ios(provider="fcm")]},
        {"push_tokens": [ios(environment="sandbox")]},
        {},
    )

    found = await preview(client, **HELLO)

    assert found["audience"] == {
        "devices": 4,
        "users": 4,
        "users_without_device": 1,
        "by_platform": {"ios": 3, "android": 1},
        "by_provider": {"apns": 2, "fcm": 2},
        "skipped": {"no_credential": 1},
        "to_send": 3,
    }


async def test_all_is_skipped_without_credentials(client: AsyncClient) -> None:
    await people(client, 2)

    found = await preview(client, **HELLO)

    assert found["audience"]["skipped"] == {"no_credential": 2}
    assert found["audience"]["to_send"] == 0


async def test_inactive_devices_are_not_counted(client: AsyncClient) -> None:
    device = android()
    await load(client, {"external_id": "u", "push_tokens": [device]})
    await client.delete(f"/admin/users/u/push-tokens/{device['token']}")

    found = (await preview(client, **HELLO))["audience"]

    assert (found["users"], found["users_without_device"], found["devices"]) == (1, 1, 0)


async def test_only_those_of_the_segment_are_counted(client: AsyncClient) -> None:
    await credentials(client)
    await people(client, 3, properties={"plan": "pro"})
    await people(client, 5, properties={"plan": "free"})
    await client.post("/admin/segments", json={"id": "seg_pro", "name": "Pro", "rules": PRO})

    found = await preview(client, **HELLO, segment_id="seg_pro")

    assert (found["audience"]["users"], found["audience"]["to_send"]) == (3, 3)


async def test_nobody_of_another_project_is_counted(tenant: Tenant, other_tenant: Tenant) -> None:
    await people(tenant.client, 1)
    await people(other_tenant.client, 3)

    found = await preview(tenant.client, **HELLO)

    assert (found["audience"]["users"], found["audience"]["devices"]) == (1, 1)


async def test_payloads_are_weighed(client: AsyncClient) -> None:
    body = {"aps": {"alert": HELLO, "mutable-content": 1}}

    found = await preview(client, **HELLO)

    assert found["payload_bytes"]["apns"] == len(json.dumps(body, separators=(",", ":")))
    assert 0 < found["payload_bytes"]["fcm"] < 4096


async def test_the_slowest_limit_says_how_long_it_takes(client: AsyncClient) -> None:
    await credentials(client, per_minute=600)
    await people(client, 4)

    by_credential = await preview(client, **HELLO)
    by_campaign = await preview(client, **HELLO, rate_limit=4)
    await client.patch("/admin/project", json={"rate_limit": 2})
    by_project = await preview(client, **HELLO, rate_limit=4)

    found = [by_credential, by_campaign, by_project]
    assert [each["rate"]["limited_by"] for each in found] == [
        "fcm credential",
        "campaign",
        "project",
    ]
    assert [each["expected_duration_seconds"] for each in found] == [1, 60, 120]


async def test_nothing_is_expected_where_nothing_limits(client: AsyncClient) -> None:
    await credentials(client, per_minute=None)
    await people(client, 1)

    found = await preview(client, **HELLO)

    assert (found["rate"], found["expected_duration_seconds"]) == (None, None)


async def test_local_time_makes_buckets_of_the_zones_there_are(client: AsyncClient) -> None:
    await credentials(client)
    await people(client, 2, timezone="Asia/Tokyo")
    await people(client, 3, timezone="America/New_York")
    await people(client, 1)
    at = {"delivery_mode": "local_time", "local_date": "2027-06-01", "local_time": "12:00"}

    found = await preview(client, **HELLO, **at, timezone_fallback="Asia/Tokyo")

    assert found["audience"]["to_send"] == 6
    assert found["buckets"] == {
        "count": 2,
        "first_at": "2027-06-01T03:00:00Z",
        "last_at": "2027-06-01T16:00:00Z",
    }


async def test_zones_whose_time_has_passed_are_skipped_or_sent_to_at_once(
    client: AsyncClient,
) -> None:
    await credentials(client)
    await people(client, 2, timezone="Pacific/Kiritimati")
    await people(client, 3, timezone="Pacific/Pago_Pago")
    # 14 hours before and 11 hours after Greenwich: one has been there, the other has not.
    now = datetime.now(UTC)
    at = {
        "delivery_mode": "local_time",
        "local_date": f"{now:%Y-%m-%d}",
        "local_time": f"{now:%H:%M}",
    }

    skipped = await preview(client, **HELLO, **at)
    sent = await preview(client, **HELLO, **at, past_policy="send_now")

    assert skipped["audience"]["skipped"] == {"past": 2}
    assert [skipped["audience"]["to_send"], sent["audience"]["to_send"]] == [3, 5]
    assert [skipped["buckets"]["count"], sent["buckets"]["count"]] == [1, 2]


async def test_a_scheduled_campaign_goes_by_the_moment_it_was_scheduled(
    client: AsyncClient, database: Database
) -> None:
    await credentials(client)
    await people(client, 2, timezone="Asia/Tokyo")
    at = {"delivery_mode": "local_time", "local_date": "2027-06-01", "local_time": "12:00"}
    campaign_id = await draft(client, **at)
    past = {"local_date": datetime.now(UTC).date() - timedelta(days=2)}
    long_ago = {"armed_at": datetime.now(UTC) - timedelta(days=9)}
    async with database.transaction() as conn:
        changing = sa.update(push_campaigns).where(push_campaigns.c.id == campaign_id)
        await conn.execute(changing.values(**past, **long_ago))

    found = await preview(client, campaign_id=campaign_id)

    assert (found["audience"]["to_send"], found["audience"]["skipped"]) == (2, {})


async def test_preview_of_a_saved_campaign_is_that_of_its_fields(client: AsyncClient) -> None:
    await credentials(client)
    await people(client, 2)
    campaign_id = await draft(client, rate_limit=1)

    saved = await preview(client, campaign_id=campaign_id)
    unsaved = await preview(client, **HELLO, rate_limit=1)

    assert len(saved["confirmation"].pop("token")) == 128
    assert saved["confirmation"].pop("expires_at") is not None
    assert unsaved["confirmation"].pop("token") is None
    assert unsaved["confirmation"].pop("expires_at") is None
    assert saved == unsaved


@pytest.mark.parametrize(
    "timing",
    [
        {},
        {"window_start": time(0), "window_end": time(0, 1), "window_timezone": "user"},
        {"delivery_mode": "local_time", "local_date": date(2026, 1, 1), "local_time": time(9)},
    ],
    ids=["at once", "in a window", "in local time"],
)
async def test_of_a_failed_campaign_what_it_still_owes_is_counted(
    tenant: Tenant, database: Database, timing: dict[str, object]
) -> None:
    await credentials(tenant.client)
    await people(tenant.client, 6)
    campaign_id = await draft(tenant.client)
    await _begin(database, ProjectCtx(UUID(tenant.project_id)), UUID(campaign_id), canary=2)
    await people(tenant.client, 7)
    async with database.transaction() as conn:
        failing = sa.update(push_campaigns).where(push_campaigns.c.id == campaign_id)
        await conn.execute(failing.values(status="failed", **timing))

    found = await preview(tenant.client, campaign_id=campaign_id)

    # The two of the canary were reached, and one more.
    assert found["audience"]["to_send"] == 3
    assert found["audience"]["users"] == 3


async def _begin(
    database: Database, project: ProjectCtx, campaign_id: UUID, *, canary: int
) -> None:
    """Freeze its audience, and reach its canary and one more device."""
    async with database.transaction() as conn:
        campaign = await campaigns.get(conn, project, campaign_id)
        await audience.freeze(conn, campaign, sa.true(), BatchSizes(canary=canary))
        columns = push_batches.c
        changing = sa.update(push_batches).where(columns.campaign_id == campaign_id)
        await conn.execute(changing.where(columns.number == 0).values(completed_at=sa.func.now()))
        rest = sa.select(columns.token_ids[1]).where(
            columns.campaign_id == campaign_id, columns.number == 1
        )
        ids = {"project_id": project.project_id, "campaign_id": campaign_id}
        recording = sa.insert(push_deliveries).values(
            **ids, token_id=rest.scalar_subquery(), status="sent"
        )
        await conn.execute(recording)


async def test_it_is_open_at_the_long_door(tenant: Tenant) -> None:
    answer = await tenant.client.post(f"{tenant.door}/push/campaigns/preview", json=HELLO)

    assert answer.status_code == 200


async def test_a_preview_stores_nothing(client: AsyncClient) -> None:
    await preview(client, **HELLO)

    assert (await client.get("/admin/push")).json()["data"] == []
