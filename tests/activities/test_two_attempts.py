"""Two attempts at one batch, or one that writes twice: nothing counts twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from activities.delivery import BatchPass
from activities.stores import Stores
from fanfare.db import campaigns, partitions
from fanfare.db.batches import BatchCounts
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.ledger import Settlement
from fanfare.db.tables import push_deliveries, push_owed, push_tokens
from fanfare.entities import Campaign
from fanfare.ids import first_id_at
from fanfare.models import ErrorCode, Outcome, ProjectCtx, Target, TokenAction, Verdict
from fanfare.providers import Answered
from tests.activities.passes import make_due, run
from tests.activities.scene import (
    FakeProvider,
    Recorded,
    attempt,
    campaign,
    devices,
    ledger,
    stats,
)

REFUSED = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "TooManyRequests")
BAD = Outcome(
    Verdict.FAILED, ErrorCode.INVALID_TOKEN, "BadDeviceToken", token_action=TokenAction.QUARANTINE
)
SENT_TWICE = Recorded("sent", None, None, possible_duplicate=True)

OF_A_PARTITION = datetime(2031, 6, 1, tzinfo=UTC)
OF_NO_PARTITION = datetime(2041, 6, 1, tzinfo=UTC)


@dataclass
class SlowProvider(FakeProvider):
    """Answers when it is told to."""

    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        self.is_asked.set()
        await self.may_answer.wait()
        async for group in super().send(targets):
            yield group


class WritesTwice(BatchPass):
    """Loses the acknowledgement of each commit, so that it writes everything once more."""

    async def _settle(self, settlement: Settlement) -> None:
        await super()._settle(settlement)
        await super()._settle(settlement)


@dataclass
class OnTheWire:
    """An attempt whose messages went out, and are not answered yet."""

    provider: SlowProvider
    ending: asyncio.Task[BatchCounts]

    async def end(self) -> BatchCounts:
        """Have them answered. Returns how far the batch is then."""
        self.provider.may_answer.set()
        return await self.ending


async def on_the_wire(
    stores: Stores, sending: Campaign, answers: Mapping[int, Outcome]
) -> OnTheWire:
    provider = SlowProvider(dict(answers))
    ending = asyncio.create_task(run(await attempt(stores, sending, provider)))
    await provider.is_asked.wait()
    return OnTheWire(provider, ending)


async def writes_twice(stores: Stores, sending: Campaign, provider: FakeProvider) -> BatchPass:
    work = await attempt(stores, sending, provider)
    return WritesTwice(work.stores, work.key, work.batch, work.campaign, work.send, work.pace)


async def partitions_of(database: Database, sending: Campaign) -> set[str]:
    """Where the campaign's ledger is stored."""
    name = sa.cast(sa.literal_column("tableoid::regclass"), sa.Text)
    query = sa.select(name).where(
        push_deliveries.c.project_id == sending.project_id,
        push_deliveries.c.campaign_id == sending.id,
    )
    async with database.transaction() as conn:
        return set((await conn.execute(query)).scalars())


async def suspicions(database: Database, project: ProjectCtx) -> Sequence[int]:
    """How often each token was called bad, in the order of ids."""
    query = (
        sa.select(push_tokens.c.suspicions)
        .where(push_tokens.c.project_id == project.project_id)
        .order_by(push_tokens.c.id)
    )
    async with database.transaction() as conn:
        return list((await conn.execute(query)).scalars())


async def owed(database: Database, project: ProjectCtx) -> int:
    """How many notes of owed messages there are."""
    query = (
        sa.select(sa.func.count())
        .select_from(push_owed)
        .where(push_owed.c.project_id == project.project_id)
    )
    async with database.transaction() as conn:
        return int((await conn.execute(query)).scalar_one())


async def test_a_superseded_attempt_claims_nothing_more(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 10)
    sending = await campaign(database, project)
    zombie = FakeProvider()

    superseded = await attempt(stores, sending, zombie)
    await run(await attempt(stores, sending, FakeProvider()))
    with pytest.raises(ClaimRefused):
        await run(superseded)

    assert zombie.asked == []


async def test_outcomes_of_a_superseded_attempt_do_not_count_twice(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 10)
    sending = await campaign(database, project)

    superseded = await on_the_wire(stores, sending, {})
    await run(await attempt(stores, sending, FakeProvider()))
    await superseded.end()

    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_TWICE)
    counts = await stats(database, sending)
    assert (counts.audience, counts.sent, counts.pending) == (10, 10, 0)
    assert counts.possible_duplicates == 10


@pytest.mark.parametrize(
    ("month", "partition"),
    [
        (OF_A_PARTITION, "push_deliveries_2031_06"),
        (OF_NO_PARTITION, "push_deliveries_rest"),
    ],
)
async def test_a_message_of_which_a_superseded_attempt_records_first_that_it_was_sent_is_flagged(
    database: Database,
    stores: Stores,
    project: ProjectCtx,
    monkeypatch: pytest.MonkeyPatch,
    month: datetime,
    partition: str,
) -> None:
    [token] = await devices(database, project, 1)
    async with database.transaction() as conn:
        await partitions.ensure(conn, OF_A_PARTITION)
    monkeypatch.setattr(campaigns, "new_id", lambda: first_id_at(month))
    sending = await campaign(database, project)

    superseded = await on_the_wire(stores, sending, {})
    current = await on_the_wire(stores, sending, {})
    await superseded.end()
    ended = await current.end()

    assert ended == BatchCounts(1, sent=1)
    assert await ledger(database, sending) == {token: SENT_TWICE}
    assert (await stats(database, sending)).possible_duplicates == 1
    assert await partitions_of(database, sending) == {partition}


async def test_only_what_both_attempts_were_told_is_sent_is_flagged(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    both, first, second = await devices(database, project, 3)
    sending = await campaign(database, project)

    superseded = await on_the_wire(stores, sending, {second: BAD})
    current = await on_the_wire(stores, sending, {first: BAD})
    await superseded.end()
    await current.end()

    lines = await ledger(database, sending)
    assert {token: line.possible_duplicate for token, line in lines.items()} == {
        both: True,
        first: False,
        second: False,
    }
    assert (await stats(database, sending)).possible_duplicates == 1


async def test_what_a_superseded_attempt_was_refused_is_not_owed_again(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    third = FakeProvider()

    superseded = await on_the_wire(stores, sending, dict.fromkeys(ids, REFUSED))
    await run(await attempt(stores, sending, FakeProvider()))
    with pytest.raises(ClaimRefused):
        await superseded.end()
    await make_due(database, project)
    ended = await run(await attempt(stores, sending, third))

    assert third.asked == []
    assert ended == BatchCounts(3, sent=3)
    assert (await ledger(database, sending)).keys() == set(ids)


async def test_a_refusal_that_is_written_twice_is_one_suspicion(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    [token] = await devices(database, project, 1)
    sending = await campaign(database, project)

    ended = await run(await writes_twice(stores, sending, FakeProvider({token: BAD})))

    assert ended == BatchCounts(1, failed=1, suspects=1)
    assert await suspicions(database, project) == [1]


async def test_what_is_sent_counts_once_however_often_it_is_written(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 3)
    sending = await campaign(database, project)

    ended = await run(await writes_twice(stores, sending, FakeProvider()))

    assert ended == BatchCounts(3, sent=3)
    assert [line.status for line in (await ledger(database, sending)).values()] == ["sent"] * 3


async def test_what_a_superseded_attempt_records_as_sent_is_not_owed_for_good(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)

    superseded = await on_the_wire(stores, sending, {})
    current = await on_the_wire(stores, sending, dict.fromkeys(ids, REFUSED))
    await superseded.end()
    ended = await current.end()

    assert ended == BatchCounts(3, sent=3)
    assert await owed(database, project) == 0
