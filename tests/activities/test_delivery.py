"""One batch against the real ledger: nothing lost, nothing repeated but what says so."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from temporalio.testing import ActivityEnvironment

from activities.delivery import (
    CLAIM_SIZE,
    PassEndedEarly,
)
from activities.stores import Stores
from fanfare.db import campaigns
from fanfare.db.batches import BatchCounts
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.tables import push_tokens
from fanfare.models import (
    CampaignStatus,
    ErrorCode,
    OnUnknown,
    Outcome,
    ProjectCtx,
    Target,
    Verdict,
)
from fanfare.providers import Answered
from tests.activities.passes import claim_and_die, make_due, run
from tests.activities.scene import (
    FakeProvider,
    Recorded,
    attempt,
    campaign,
    devices,
    ledger,
    stats,
)

LATER = timedelta(minutes=1)
REFUSED = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "TooManyRequests", retry_after=LATER)
SENT_ONCE = Recorded("sent", None, None, possible_duplicate=False)


async def test_every_token_ends_in_the_ledger(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 2 * CLAIM_SIZE + 1)
    sending = await campaign(database, project)
    provider = FakeProvider()

    ended = await run(await attempt(stores, sending, provider))

    assert ended == BatchCounts(len(ids), sent=len(ids))
    assert sorted(provider.asked) == ids
    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_ONCE)


async def test_retried_batch_sends_only_what_is_unanswered(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 10)
    sending = await campaign(database, project)
    first, second = FakeProvider({ids[3]: REFUSED}), FakeProvider()

    partly = await run(await attempt(stores, sending, first))
    await make_due(database, project)
    ended = await run(await attempt(stores, sending, second))

    assert partly == BatchCounts(10, sent=9)
    assert second.asked == [ids[3]]
    assert ended == BatchCounts(10, sent=10)
    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_ONCE)


async def test_a_finished_batch_is_not_sent_again(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 5)
    sending = await campaign(database, project)
    again = FakeProvider()

    await run(await attempt(stores, sending, FakeProvider()))
    ended = await run(await attempt(stores, sending, again))

    assert again.asked == []
    assert ended == BatchCounts(5, sent=5)


async def test_what_a_crash_left_on_the_wire_is_sent_again_and_flagged(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, CLAIM_SIZE + 50)
    sending = await campaign(database, project)
    second = FakeProvider()

    await claim_and_die(await attempt(stores, sending, FakeProvider()))
    await run(await attempt(stores, sending, second))

    assert sorted(second.asked) == ids
    lines = await ledger(database, sending)
    assert all(lines[token].possible_duplicate for token in ids[:CLAIM_SIZE])
    assert not any(lines[token].possible_duplicate for token in ids[CLAIM_SIZE:])
    assert (await stats(database, sending)).possible_duplicates == CLAIM_SIZE


async def test_what_a_crash_left_on_the_wire_is_written_off_where_the_campaign_says_skip(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, CLAIM_SIZE + 50)
    sending = await campaign(database, project, on_unknown=OnUnknown.SKIP)
    second = FakeProvider()

    await claim_and_die(await attempt(stores, sending, FakeProvider()))
    ended = await run(await attempt(stores, sending, second))

    assert sorted(second.asked) == ids[CLAIM_SIZE:]
    assert ended == BatchCounts(len(ids), sent=50, unknown=CLAIM_SIZE)


async def test_a_campaign_that_is_stopped_is_claimed_from_no_more(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 10)
    sending = await campaign(database, project)
    provider = FakeProvider()

    work = await attempt(stores, sending, provider)
    async with database.transaction() as conn:
        await campaigns.end(conn, project, sending.id, CampaignStatus.CANCELLED)
    with pytest.raises(ClaimRefused):
        await run(work)

    assert provider.asked == []
    assert await ledger(database, sending) == {}


async def test_nothing_is_sent_after_expiry(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 10)
    gone_by = datetime.now(UTC) - timedelta(seconds=1)
    sending = await campaign(database, project, expires_at=gone_by)
    provider = FakeProvider()

    ended = await run(await attempt(stores, sending, provider))

    assert ended == BatchCounts(10, skipped=10)
    assert provider.asked == []
    assert (await stats(database, sending)).skipped_by == {"expired": 10}


async def test_an_adapter_that_breaks_off_leaves_the_rest_in_doubt_and_not_lost(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    second = FakeProvider()

    async def broken(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        yield [(targets[0], Outcome(Verdict.SENT))]
        raise ZeroDivisionError

    work = await attempt(stores, sending, FakeProvider())
    work.send = broken
    with pytest.raises(ZeroDivisionError):
        await run(work)
    ended = await run(await attempt(stores, sending, second))

    assert second.asked == ids[1:]
    assert ended == BatchCounts(3, sent=3)


async def test_a_device_that_left_since_the_freeze_is_skipped(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 4)
    sending = await campaign(database, project)
    provider = FakeProvider()

    async with database.transaction() as conn:
        mine = push_tokens.c.project_id == project.project_id
        inactive = {"is_active": False, "deactivated_reason": "unregistered_by_app"}
        moved = {"is_active": False, "deactivated_reason": "moved"}
        tokens = push_tokens
        await conn.execute(sa.update(tokens).where(mine, tokens.c.id == ids[0]).values(inactive))
        await conn.execute(sa.update(tokens).where(mine, tokens.c.id == ids[1]).values(moved))
        await conn.execute(sa.delete(tokens).where(mine, tokens.c.id == ids[2]))
    await run(await attempt(stores, sending, provider))

    assert provider.asked == [ids[3]]
    assert (await stats(database, sending)).skipped_by == {
        "token_gone": 1,
        "token_inactive": 1,
        "token_moved": 1,
    }


async def test_a_stopping_worker_claims_nothing_more(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 3 * CLAIM_SIZE)
    sending = await campaign(database, project)
    environment = ActivityEnvironment()
    provider = FakeProvider(on_ask=lambda _: environment.worker_shutdown())

    with pytest.raises(PassEndedEarly):
        await environment.run((await attempt(stores, sending, provider)).run)

    assert len(provider.asked) == CLAIM_SIZE
    assert len(await ledger(database, sending)) == CLAIM_SIZE
