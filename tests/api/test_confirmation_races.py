"""Two operators at one campaign: what was confirmed, or needed none, is what goes out."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest
import sqlalchemy as sa

from fanfare.db import controls
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.entities import Timing
from fanfare.models import CampaignStatus
from tests.api.campaigning import AT, Desk, data_of
from tests.api.conftest import Tenant
from tests.api.previewing import credentials, people, preview

RULES = {"operator": "AND", "conditions": []}
NOBODY = {"field": "email", "op": "eq", "value": "nobody@example.com"}


@pytest.fixture
async def desk(tenant: Tenant, database: Database) -> Desk:
    """Of a project of three devices."""
    await credentials(tenant.client)
    await people(tenant.client, 3)
    return Desk(tenant, database)


async def asks_above(desk: Desk, devices: int) -> None:
    answer = await desk.client.patch("/admin/project", json={"confirm_above": devices})
    assert answer.status_code == 200, answer.text


async def change_while_another_schedules(
    desk: Desk, campaign: Mapping[str, object], **fields: object
) -> int:
    """The status of a change that has looked at a draft, and finds a scheduled campaign."""
    campaign_id = UUID(str(campaign["id"]))
    async with desk.database.transaction() as conn:
        held = await controls.hold(conn, desk.project, campaign_id)
        changing = asyncio.create_task(desk.change(campaign, **fields))
        await _until_somebody_waits(desk)
        timing = Timing(scheduled_at=datetime.fromisoformat(AT))
        await controls.edit(conn, held, replace(NewCampaign.of(held), timing=timing))
    return (await changing).status_code


async def _until_somebody_waits(desk: Desk) -> None:
    """For a campaign that another transaction holds; ten seconds at most."""
    waiting = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    async with asyncio.timeout(10), desk.database.transaction() as conn:
        while not (await conn.execute(waiting)).scalar_one():
            pass


async def test_change_of_what_another_has_scheduled_meanwhile_is_refused(desk: Desk) -> None:
    await asks_above(desk, 1)
    campaign = await desk.create()

    status = await change_while_another_schedules(desk, campaign, title="Never confirmed")

    found = await desk.seen(campaign)
    assert status == 503
    assert (found["status"], found["title"]) == ("scheduled", campaign["title"])


async def test_changes_are_merged_where_nothing_is_confirmed(desk: Desk) -> None:
    campaign = await desk.create()

    status = await change_while_another_schedules(desk, campaign, title="New")

    found = await desk.seen(campaign)
    assert status == 200
    assert (found["status"], found["title"]) == ("scheduled", "New")


# A failed campaign keeps to the rules by which its audience was frozen.


async def failed_by_segment(desk: Desk) -> Mapping[str, object]:
    """It went to a segment of three devices, and owes all of them its message."""
    segment = {"id": "seg_x", "name": "X", "rules": RULES}
    assert (await desk.client.post("/admin/segments", json=segment)).status_code == 201
    campaign = await desk.create(segment_id="seg_x")
    now = sa.func.now()
    await desk.set(
        campaign,
        status=CampaignStatus.FAILED,
        begun_at=now,
        frozen_at=now,
        audience=3,
        frozen_rules=RULES,
        failure_code="INTERNAL",
        failure_message="It stopped.",
    )
    await _freeze(desk, campaign)
    return campaign


async def _freeze(desk: Desk, campaign: Mapping[str, object]) -> None:
    statement = sa.text(
        "INSERT INTO push_batches (project_id, campaign_id, number, lane, token_ids) "
        "SELECT project_id, CAST(:campaign AS uuid), 0, 'fcm', array_agg(id) FROM push_tokens "
        "WHERE project_id = CAST(:project AS uuid) GROUP BY project_id"
    )
    values = {"campaign": campaign["id"], "project": desk.tenant.project_id}
    async with desk.database.transaction() as conn:
        await conn.execute(statement, values)


async def test_failed_campaign_is_previewed_and_sent_without_its_segment(desk: Desk) -> None:
    await asks_above(desk, 1)
    campaign = await failed_by_segment(desk)
    assert (await desk.client.delete("/admin/segments/seg_x")).status_code == 204

    shown = await preview(desk.client, campaign_id=campaign["id"])
    body = {"confirmation": shown["confirmation"]["token"]}
    sent = await desk.client.post(f"/admin/push/{campaign['id']}/send", json=body)

    assert shown["confirmation"]["required"] is True
    assert data_of(sent)["status"] == "sending"


async def test_confirmation_of_a_failed_campaign_outlives_a_change_of_its_segment(
    desk: Desk,
) -> None:
    await asks_above(desk, 1)
    campaign = await failed_by_segment(desk)
    shown = await preview(desk.client, campaign_id=campaign["id"])

    await desk.client.patch("/admin/segments/seg_x", json={"rules": NOBODY})
    body = {"confirmation": shown["confirmation"]["token"]}
    sent = await desk.client.post(f"/admin/push/{campaign['id']}/send", json=body)

    assert data_of(sent)["status"] == "sending"
