"""Campaigns that end before they begin, are sent again, or lose what they waited for."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities.campaigns import Campaigns
from activities.stores import Stores
from fanfare.db import campaigns, controls
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign, Timing
from fanfare.models import CampaignStatus, Content, DeliveryMode, ProjectCtx
from fanfare.schedule import DeliveryWindow
from tests.activities.test_buckets import key_of, planned
from tests.workflows.running import result
from workflows import WORKFLOWS, queues, starter
from workflows.campaign import PushCampaign
from workflows.stubs import BeginInput, EndInput

HELLO = Content("Hi", "There", {})
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def local_time(ago: timedelta) -> Timing:
    """When it was that long ago in the zone UTC."""
    at = datetime.now(UTC) - ago
    return Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=at.date(),
        local_time=at.time().replace(microsecond=0),
    )


def closed_window() -> DeliveryWindow:
    """It closed an hour ago."""
    now = datetime.now(UTC)
    return DeliveryWindow((now - 2 * HOUR).time(), (now - HOUR).time(), "UTC")


async def made(
    database: Database, project: ProjectCtx, timing: Timing, armed: timedelta | None = None
) -> Campaign:
    """`armed`: how long ago."""
    async with database.transaction() as conn:
        new = NewCampaign("n", HELLO, timing=timing)
        campaign = await campaigns.create(conn, project, new)
        if armed is None:
            return campaign
        this = sa.update(push_campaigns).where(push_campaigns.c.id == campaign.id)
        await conn.execute(this.values(armed_at=datetime.now(UTC) - armed))
        return await campaigns.get(conn, project, campaign.id)


async def sent(database: Database, campaign: Campaign) -> Campaign:
    """As `/send` does."""
    async with database.transaction() as conn:
        return await campaigns.begin_sending(conn, ProjectCtx(campaign.project_id), campaign.id)


async def stopped(
    database: Database,
    stores: Stores,
    campaign: Campaign,
    status: CampaignStatus = CampaignStatus.FAILED,
) -> Campaign:
    """After its run, which knew this of it, has stopped it."""
    code = "MISSED_SCHEDULE" if status is CampaignStatus.FAILED else None
    key = dict(key_of(campaign))
    ending = EndInput(**key, status=status, failure_code=code, revision=campaign.revision)
    await ActivityEnvironment().run(Campaigns(stores).stop, ending)
    async with database.transaction() as conn:
        return await campaigns.get(conn, ProjectCtx(campaign.project_id), campaign.id)


async def missed(database: Database, project: ProjectCtx, stores: Stores) -> Campaign:
    """One that failed because its local time was long past in every zone."""
    campaign = await made(database, project, local_time(30 * HOUR), armed=40 * HOUR)
    return await stopped(database, stores, campaign)


@pytest.mark.parametrize("status", [CampaignStatus.FAILED, CampaignStatus.CANCELLED])
async def test_sent_again_it_is_ended_by_its_own_run_before_it_has_begun(
    database: Database, stores: Stores, project: ProjectCtx, status: CampaignStatus
) -> None:
    again = await sent(database, await missed(database, project, stores))

    ended = await stopped(database, stores, again, status)

    assert (again.status, again.begun_at) == (CampaignStatus.SENDING, None)
    assert ended.status == status


async def test_sent_again_it_is_not_ended_by_the_run_of_before(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    failed = await missed(database, project, stores)
    again = await sent(database, failed)

    assert await stopped(database, stores, failed) == again


async def test_sent_again_zones_whose_time_has_just_come_are_still_planned(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    campaign = await made(database, project, local_time(5 * MINUTE), armed=2 * HOUR)
    activities, env = Campaigns(stores), ActivityEnvironment()
    await env.run(activities.plan, key_of(campaign))
    before = await planned(database, campaign)
    await env.run(activities.begin, BeginInput(**dict(key_of(campaign)), revision=0))

    again = await sent(database, await stopped(database, stores, campaign))
    await env.run(activities.plan, key_of(campaign))

    assert again.armed_at == campaign.armed_at
    assert await planned(database, again) == before
    assert "UTC" in {zone for bucket in before for zone in bucket.timezones or ()}


async def test_draft_is_armed_when_it_is_sent(database: Database, project: ProjectCtx) -> None:
    draft = await made(database, project, Timing())

    sending = await sent(database, draft)

    assert draft.armed_at is None
    assert sending.armed_at == sending.updated_at


async def test_failed_campaign_of_one_moment_is_armed_anew(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    timing = Timing(scheduled_at=datetime.now(UTC) - 2 * HOUR)
    campaign = await made(database, project, timing, armed=3 * HOUR)

    again = await sent(database, await stopped(database, stores, campaign))

    assert again.armed_at == again.updated_at


async def test_window_that_is_taken_away_while_it_is_waited_for_lets_it_go_out(
    temporal_env: WorkflowEnvironment, database: Database, stores: Stores, project: ProjectCtx
) -> None:
    draft = await made(database, project, Timing(window=closed_window()))
    sending = await sent(database, draft)
    activities, client = Campaigns(stores), temporal_env.client
    worker = Worker(
        client,
        task_queue=queues.MAIN,
        workflows=WORKFLOWS,
        activities=[
            activities.look,
            activities.plan,
            activities.begin,
            activities.freeze_audience,
            activities.finish,
        ],
    )

    async with worker:
        await starter.start(client, sending)
        handle: WorkflowHandle[PushCampaign, str]
        handle = client.get_workflow_handle(starter.workflow_id(sending.id))
        await _until_planned(database, sending)
        await starter.follow(client, await _without_window(database, sending))
        ended = await result(handle)

    assert ended == "sent"
    assert await planned(database, sending) == []


async def test_window_that_is_taken_away_before_it_began_is_forgotten(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    sending = await sent(database, await made(database, project, Timing(window=closed_window())))
    await ActivityEnvironment().run(Campaigns(stores).plan, key_of(sending))
    before = await planned(database, sending)

    await _without_window(database, sending)

    assert [bucket.frozen_at for bucket in before] == [None]
    assert await planned(database, sending) == []


async def _without_window(database: Database, campaign: Campaign) -> Campaign:
    async with database.transaction() as conn:
        held = await controls.hold(conn, ProjectCtx(campaign.project_id), campaign.id)
        timing = replace(held.timing, window=None)
        return await controls.edit(conn, held, replace(NewCampaign.of(held), timing=timing))


async def _until_planned(database: Database, campaign: Campaign) -> None:
    """Return when its run has a plan, and waits; a minute at most."""
    async with asyncio.timeout(60):
        while not await planned(database, campaign):  # noqa: ASYNC110 - a row, no event of ours
            await asyncio.sleep(0.01)
