"""What the upkeep does about a restored database, against a real Temporal."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.campaigns import Campaigns
from activities.restores import Restores
from activities.stores import Stores
from fanfare.db import campaigns, migrate, projects
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.dev import postgres
from fanfare.entities import Campaign, Timing
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, Content, PausedReason, ProjectCtx
from tests.workflows.fakes import FakeActivities, audience_of
from tests.workflows.refreshing import eventually
from tests.workflows.running import serving
from workflows import starter
from workflows.campaign import PushCampaign
from workflows.stubs import FinishInput, FreezeInput, Position

NEXT_WEEK = datetime.now(UTC) + timedelta(days=7)
AHEAD = 2**50


@pytest.fixture
async def own(postgres_port: int) -> AsyncIterator[Stores]:
    """Without the campaigns of other tests, all of which a restore would hold."""
    postgres.ensure_database(postgres_port, "upkeep_restores")
    url = postgres.url(postgres_port, "upkeep_restores")
    migrate.upgrade(url)
    stores = Stores(Database(url), LedgerPool(url, size=2))
    await stores.ledger.open()
    yield stores
    await stores.ledger.close()
    await stores.database.close()


async def check(stores: Stores, client: Client, seen: int | None = None) -> int:
    restores = Restores(stores, client)
    found = await ActivityEnvironment().run(restores.check_database, Position(position=seen))
    assert found.position is not None
    return found.position


async def scheduled(stores: Stores, at: datetime = NEXT_WEEK) -> Campaign:
    new = NewCampaign("a campaign", Content("Hi", "There", {}), timing=Timing(scheduled_at=at))
    async with stores.database.transaction() as conn:
        project = await projects.create(conn, "a project")
        return await campaigns.create(conn, ProjectCtx(project.id), new)


async def found(stores: Stores, campaign: Campaign) -> Campaign:
    async with stores.database.transaction() as conn:
        return await campaigns.get(conn, ProjectCtx(campaign.project_id), campaign.id)


def workflow_of(client: Client, campaign: Campaign) -> WorkflowHandle[PushCampaign, str]:
    return client.get_workflow_handle_for(PushCampaign.run, starter.workflow_id(campaign.id))


async def test_database_is_held_that_is_behind_what_temporal_remembers(
    own: Stores, temporal_env: WorkflowEnvironment
) -> None:
    due = await scheduled(own, datetime.now(UTC))
    client = temporal_env.client

    before = await check(own, client)
    same = await check(own, client, before)
    unheld = await found(own, due)
    after = await check(own, client, before + AHEAD)

    assert same >= before
    assert unheld.paused_reason is None
    assert (await found(own, due)).paused_reason is PausedReason.DATABASE_RESTORED
    assert after >= before + AHEAD


async def test_campaign_due_later_is_held_where_temporal_says_that_it_has_begun(
    own: Stores, temporal_env: WorkflowEnvironment
) -> None:
    client, now = temporal_env.client, await check(own, temporal_env.client)
    sent, waiting, lost = [await scheduled(own) for _ in range(3)]
    await starter.start(client, waiting)
    fakes = FakeActivities(audience_of(apns=1))
    async with serving(client, fakes):
        await starter.start(client, sent_at_once(sent))
        await workflow_of(client, sent).result()

    await check(own, client, now + 2 * AHEAD)

    held = [(await found(own, each)).paused_reason for each in (sent, waiting, lost)]
    await workflow_of(client, waiting).terminate()
    assert held == [PausedReason.DATABASE_RESTORED, None, None]


def sent_at_once(campaign: Campaign) -> Campaign:
    """The campaign as its row was in the time that was lost."""
    return replace(campaign, status=CampaignStatus.SENDING, timing=Timing())


async def test_workflow_of_a_campaign_that_is_gone_is_told_and_ends(
    own: Stores, temporal_env: WorkflowEnvironment
) -> None:
    client, now = temporal_env.client, await check(own, temporal_env.client)
    gone = replace(await scheduled(own), id=new_id())
    await starter.start(client, gone)

    async def is_listed() -> bool:
        return gone.id in await starter.running_campaigns(client)

    await eventually(is_listed)
    fakes = FakeActivities(audience_of(apns=1))
    fakes.change(status=None)
    async with serving(client, fakes):
        await check(own, client, now + 3 * AHEAD)
        ended = await workflow_of(client, gone).result()

    assert (ended, fakes.batches) == ("removed", [])


async def test_freeze_and_finish_of_a_campaign_that_is_gone_fail_for_good(own: Stores) -> None:
    gone = {"project_id": new_id(), "campaign_id": new_id()}

    with pytest.raises(ApplicationError) as freezing:
        await ActivityEnvironment().run(Campaigns(own).freeze_audience, FreezeInput(**gone))
    with pytest.raises(ApplicationError) as finishing:
        await ActivityEnvironment().run(Campaigns(own).finish, FinishInput(**gone))

    said = {(each.value.type, each.value.non_retryable) for each in (freezing, finishing)}
    assert said == {("CAMPAIGN_NOT_FOUND", True)}


async def test_finish_by_another_ledger_does_nothing_but_say_what_the_row_says(
    own: Stores, temporal_env: WorkflowEnvironment
) -> None:
    due = await scheduled(own, datetime.now(UTC))
    now = await check(own, temporal_env.client)
    await check(own, temporal_env.client, now + 4 * AHEAD)
    finish = FinishInput(project_id=due.project_id, campaign_id=due.id)

    standing = await ActivityEnvironment().run(Campaigns(own).finish, finish)

    assert standing is not None
    assert (standing.is_paused, standing.status) == (True, "scheduled")
    assert standing.in_doubt_since == (await found(own, due)).in_doubt_since


async def test_finish_that_comes_before_anybody_noticed_a_restore_does_the_same(
    own: Stores, temporal_env: WorkflowEnvironment
) -> None:
    due = await scheduled(own, datetime.now(UTC))
    now = await check(own, temporal_env.client)
    own.ledger.guard.remember(now + 5 * AHEAD)
    finish = FinishInput(project_id=due.project_id, campaign_id=due.id)

    standing = await ActivityEnvironment().run(Campaigns(own).finish, finish)

    assert standing is not None
    assert (standing.is_paused, standing.status) == (True, "scheduled")
