"""What concerns a campaign as a whole, on a real database."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.campaigns import Campaigns
from activities.delivery import close_batch
from activities.stores import Stores
from fanfare.db import buckets, campaigns, controls, credentials, verdicts
from fanfare.db.campaigns import NewCampaign
from fanfare.db.claims import ClaimRefused
from fanfare.db.credentials import NewCredential
from fanfare.db.engine import Database
from fanfare.db.tables import push_deliveries, push_tokens
from fanfare.entities import Campaign, SealedSecret, Timing
from fanfare.ids import new_id
from fanfare.models import (
    CampaignStatus,
    Content,
    DeliveryMode,
    Environment,
    ErrorCode,
    Lane,
    Outcome,
    PastPolicy,
    ProjectCtx,
    ProviderName,
    SkipReason,
    TokenAction,
    Verdict,
)
from fanfare.schedule import PlannedBucket
from tests.activities.scene import FakeProvider, attempt, campaign, devices, ledger, stats
from workflows.canary import WRONG_CREDENTIAL
from workflows.stubs import Audience, BeginInput, CampaignKey, EndInput, FinishInput, FreezeInput

STRANGER = Outcome(
    Verdict.FAILED, ErrorCode.INVALID_TOKEN, "BadDeviceToken", token_action=TokenAction.QUARANTINE
)

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
LOCAL_TIME = Timing(
    delivery_mode=DeliveryMode.LOCAL_TIME, local_date=date(2027, 6, 1), local_time=time(9)
)


def key_of(sending: Campaign) -> CampaignKey:
    return CampaignKey(project_id=sending.project_id, campaign_id=sending.id)


def finish_of(sending: Campaign) -> FinishInput:
    return FinishInput(**dict(key_of(sending)))


def ending(sending: Campaign, status: CampaignStatus, code: str | None = None) -> EndInput:
    return EndInput(**dict(key_of(sending)), status=status, failure_code=code)


async def unfrozen(
    database: Database, project: ProjectCtx, *, segment_id: str | None = None
) -> Campaign:
    content = Content("Hi", "There", {})
    async with database.transaction() as conn:
        new = NewCampaign("a campaign", content, segment_id=segment_id)
        draft = await campaigns.create(conn, project, new)
        return await campaigns.begin_sending(conn, project, draft.id)


async def scheduled(database: Database, project: ProjectCtx, timing: Timing) -> Campaign:
    new = NewCampaign("a campaign", Content("Hi", "There", {}), timing=timing)
    async with database.transaction() as conn:
        return await campaigns.create(conn, project, new)


async def in_local_time(database: Database, project: ProjectCtx) -> Campaign:
    """One that has begun; bucket 0 holds the users without a zone."""
    waiting = await scheduled(database, project, LOCAL_TIME)
    async with database.transaction() as conn:
        begun = await campaigns.begin(conn, project, waiting.id, revision=0)
        assert begun is not None
        await buckets.plan(conn, begun, [PlannedBucket(LONG_AGO, None, ("UTC",))], LONG_AGO)
    return begun


async def a_credential(database: Database, project: ProjectCtx) -> None:
    public = {"team_id": "T", "key_id": "K", "bundle_id": "B"}
    sealed = SealedSecret(b"", b"", "v1")
    new = NewCredential(
        new_id(), ProviderName.APNS, Environment.PRODUCTION, public, "fingerprint", sealed
    )
    async with database.transaction() as conn:
        await credentials.put(conn, project, new)


async def freeze(stores: Stores, sending: Campaign) -> Audience:
    freeze = FreezeInput(**dict(key_of(sending)))
    frozen = await ActivityEnvironment().run(Campaigns(stores).freeze_audience, freeze)
    assert isinstance(frozen, Audience)
    return frozen


async def status_of(database: Database, project: ProjectCtx, sending: Campaign) -> Campaign:
    async with database.transaction() as conn:
        return await campaigns.get(conn, project, sending.id)


async def active(database: Database, project: ProjectCtx) -> int:
    condition = (push_tokens.c.project_id == project.project_id) & push_tokens.c.is_active
    async with database.transaction() as conn:
        return int((await conn.execute(sa.select(sa.func.count()).where(condition))).scalar_one())


async def test_a_broadcast_freezes_everyone(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await a_credential(database, project)
    await devices(database, project, 30)

    frozen = await freeze(stores, await unfrozen(database, project))

    assert frozen.size == 30
    assert [(lane.first, lane.end) for lane in frozen.lanes] == [(0, 2)]


async def test_an_audience_without_any_credential_fails_and_stays_unfrozen(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 3)
    sending = await unfrozen(database, project)

    with pytest.raises(ApplicationError) as error:
        await freeze(stores, sending)

    assert (error.value.type, error.value.non_retryable) == ("NO_CREDENTIALS", True)
    async with database.transaction() as conn:
        found = await campaigns.get(conn, project, sending.id)
    assert found.status is CampaignStatus.SENDING


async def test_a_segment_that_was_deleted_never_becomes_a_broadcast(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await a_credential(database, project)
    await devices(database, project, 3)
    sending = await unfrozen(database, project, segment_id="seg_gone")

    with pytest.raises(ApplicationError) as error:
        await freeze(stores, sending)

    assert (error.value.type, error.value.non_retryable) == ("SEGMENT_NOT_FOUND", True)


async def test_a_campaign_is_sent_only_when_the_ledger_adds_up(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    await ActivityEnvironment().run((await attempt(stores, sending, FakeProvider())).run)

    await ActivityEnvironment().run(Campaigns(stores).finish, finish_of(sending))
    sent = await status_of(database, project, sending)
    async with database.transaction() as conn:
        lost = push_deliveries.c.token_id == ids[0]
        await conn.execute(sa.delete(push_deliveries).where(lost))
    with pytest.raises(ApplicationError) as error:
        await ActivityEnvironment().run(Campaigns(stores).finish, finish_of(sending))

    assert sent.status is CampaignStatus.SENT
    assert sent.sent_at is not None
    assert (error.value.type, error.value.non_retryable) == ("LEDGER_MISMATCH", True)


async def test_a_cancelled_campaign_gives_every_token_its_end(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 250)
    sending = await campaign(database, project)
    interrupted = await attempt(stores, sending, FakeProvider())
    await ActivityEnvironment().run(interrupted._claim, 200)
    end = ending(sending, CampaignStatus.CANCELLED)

    await ActivityEnvironment().run(Campaigns(stores).stop, end)
    await ActivityEnvironment().run(Campaigns(stores).close, end)
    await ActivityEnvironment().run(Campaigns(stores).close, end)

    counts = await stats(database, sending)
    assert (counts.audience, counts.unknown, counts.skipped, counts.pending) == (250, 200, 50, 0)
    assert counts.skipped_by == {"cancelled": 50}
    lines = await ledger(database, sending)
    assert [lines[token].status for token in ids] == ["unknown"] * 200 + ["skipped"] * 50


async def test_a_failed_campaign_keeps_what_it_owes(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 5)
    sending = await campaign(database, project)
    late = await attempt(stores, sending, FakeProvider())
    end = ending(sending, CampaignStatus.FAILED, "CREDENTIALS_REFUSED")

    await ActivityEnvironment().run(Campaigns(stores).stop, end)
    await ActivityEnvironment().run(Campaigns(stores).close, end)
    with pytest.raises(ClaimRefused):
        await close_batch(stores.ledger, late.key, late.batch, SkipReason.NO_CREDENTIAL)

    assert (await stats(database, sending)).pending == 5


async def test_a_stop_of_the_run_before_does_not_touch_a_campaign_that_was_sent_again(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 5)
    sending = await campaign(database, project)
    end = ending(sending, CampaignStatus.FAILED, "CREDENTIALS_REFUSED")

    await ActivityEnvironment().run(Campaigns(stores).stop, end)
    async with database.transaction() as conn:
        await campaigns.begin_sending(conn, project, sending.id)
    await ActivityEnvironment().run(Campaigns(stores).stop, end)

    found = await status_of(database, project, sending)
    assert found.status is CampaignStatus.SENDING


async def test_a_few_users_whom_no_credential_reaches_do_not_fail_the_campaign_of_a_zone(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    """Others, in other zones, may have what these lack."""
    await a_credential(database, project)
    await devices(database, project, 3)
    async with database.transaction() as conn:
        theirs = push_tokens.c.project_id == project.project_id
        await conn.execute(sa.update(push_tokens).where(theirs).values(provider="fcm"))
    sending = await in_local_time(database, project)

    frozen = await freeze(stores, sending)

    assert [(lane.lane, lane.end - lane.first) for lane in frozen.lanes] == [(Lane.FCM, 1)]


async def test_a_campaign_that_is_sent_again_is_not_late_for_the_time_that_it_had(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    """Whatever it failed for, it is sent now."""
    waiting = await scheduled(database, project, Timing(scheduled_at=LONG_AGO))
    end = ending(waiting, CampaignStatus.FAILED, "MISSED_SCHEDULE")

    before = await ActivityEnvironment().run(Campaigns(stores).look, key_of(waiting))
    await ActivityEnvironment().run(Campaigns(stores).stop, end)
    async with database.transaction() as conn:
        await campaigns.begin_sending(conn, project, waiting.id)
    after = await ActivityEnvironment().run(Campaigns(stores).look, key_of(waiting))

    assert (before.status, before.scheduled_at) == (CampaignStatus.SCHEDULED, LONG_AGO)
    assert (after.status, after.scheduled_at) == (CampaignStatus.SENDING, None)


@pytest.mark.parametrize(
    ("policy", "patience"), [(PastPolicy.SKIP, timedelta(hours=1)), (PastPolicy.SEND_NOW, None)]
)
async def test_who_would_rather_be_late_than_silent_is_never_too_late(
    database: Database,
    stores: Stores,
    project: ProjectCtx,
    policy: PastPolicy,
    patience: timedelta | None,
) -> None:
    waiting = await scheduled(database, project, replace(LOCAL_TIME, past_policy=policy))

    standing = await ActivityEnvironment().run(Campaigns(stores).look, key_of(waiting))

    assert standing.max_lateness == patience
    assert standing.is_bucketed


async def test_a_campaign_that_was_removed_is_ended_without_ado(
    stores: Stores, project: ProjectCtx
) -> None:
    gone = EndInput(
        project_id=project.project_id, campaign_id=new_id(), status=CampaignStatus.CANCELLED
    )
    key = CampaignKey(project_id=gone.project_id, campaign_id=gone.campaign_id)

    await ActivityEnvironment().run(Campaigns(stores).stop, gone)
    await ActivityEnvironment().run(Campaigns(stores).close, gone)
    standing = await ActivityEnvironment().run(Campaigns(stores).look, key)

    assert standing.status is None


async def test_a_beginning_by_an_older_revision_is_told_what_the_row_says(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    waiting = await scheduled(database, project, Timing(scheduled_at=LONG_AGO))
    async with database.transaction() as conn:
        await controls.pause(conn, project, waiting.id)
        await controls.resume(conn, project, waiting.id)
    known = BeginInput(**dict(key_of(waiting)), revision=0)

    refused = await ActivityEnvironment().run(Campaigns(stores).begin, known)
    assert refused.standing is not None
    again = known.model_copy(update={"revision": refused.standing.revision})
    begun = await ActivityEnvironment().run(Campaigns(stores).begin, again)

    assert (refused.to_send, refused.standing.revision) == (False, 2)
    assert begun.to_send


async def test_a_wrong_environment_costs_no_device(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 25)
    sending = await campaign(database, project)
    async with stores.ledger.connection() as conn:
        await verdicts.suspect(conn, project, ids)
    await _age_suspicions(database, project)
    provider = FakeProvider(dict.fromkeys(ids, STRANGER))

    result = await ActivityEnvironment().run((await attempt(stores, sending, provider)).run)
    before = await active(database, project)
    end = ending(sending, CampaignStatus.FAILED, WRONG_CREDENTIAL)
    await ActivityEnvironment().run(Campaigns(stores).close, end)

    assert result.counts.suspects == 25
    assert before == 0
    assert await active(database, project) == 25


async def test_a_wrong_environment_leaves_everything_owed(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 25)
    sending = await campaign(database, project)
    wrong = FakeProvider(dict.fromkeys(ids, STRANGER))
    end = ending(sending, CampaignStatus.FAILED, WRONG_CREDENTIAL)

    await ActivityEnvironment().run((await attempt(stores, sending, wrong)).run)
    await ActivityEnvironment().run(Campaigns(stores).close, end)
    await ActivityEnvironment().run(Campaigns(stores).close, end)
    closed = await stats(database, sending)
    resumed = await ActivityEnvironment().run((await attempt(stores, sending, FakeProvider())).run)

    assert (closed.failed, closed.pending) == (0, 25)
    assert (resumed.counts.sent, resumed.counts.suspects) == (25, 0)
    assert resumed.counts.is_complete


async def test_a_token_called_bad_a_day_later_again_is_deactivated(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)

    async with stores.ledger.connection() as conn:
        await verdicts.suspect(conn, project, ids[:2])
        await verdicts.suspect(conn, project, ids[:2])
    the_same_day = await active(database, project)
    await _age_suspicions(database, project)
    async with stores.ledger.connection() as conn:
        await verdicts.clear(conn, project, ids[1:2])
        await verdicts.suspect(conn, project, ids[:2])

    assert the_same_day == 3
    assert await active(database, project) == 2


async def _age_suspicions(database: Database, project: ProjectCtx) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=2)
    suspected = push_tokens.c.suspected_at.is_not(None)
    statement = sa.update(push_tokens).where(
        push_tokens.c.project_id == project.project_id, suspected
    )
    async with database.transaction() as conn:
        await conn.execute(statement.values(suspected_at=long_ago))
