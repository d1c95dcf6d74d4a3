"""A pass that ends before its batch: its time is up, or the campaign is paused under it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from temporalio.testing import ActivityEnvironment

from activities.delivery import CLAIM_SIZE, BatchPass, Passed
from activities.environments import OtherWay, with_other
from activities.stores import Stores
from fanfare.db import claims, controls
from fanfare.db.batches import BatchKey
from fanfare.db.engine import Database
from fanfare.entities import Campaign
from fanfare.models import ProjectCtx, Target
from fanfare.providers import Answered
from tests.activities.passes import run
from tests.activities.scene import FakeProvider, FreePace, attempt, campaign, devices, ledger
from tests.activities.test_environments import BAD, outcomes


async def is_over() -> bool:
    """Whether a paused campaign is sent."""
    return False


async def fail() -> bool:
    raise ConnectionError


@dataclass
class PausingProvider(FakeProvider):
    """An operator pauses the campaign while its messages are on the wire."""

    database: Database | None = None
    sending: Campaign | None = None

    async def send(self, targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        assert self.database is not None
        assert self.sending is not None
        async with self.database.transaction() as conn:
            await controls.pause(conn, ProjectCtx(self.sending.project_id), self.sending.id)
        async for group in super().send(targets):
            yield group


@dataclass
class TimeUp:
    """Ends a pass's time when its first message is on the wire."""

    work: list[BatchPass] = field(default_factory=list)

    def __call__(self, _: int) -> None:
        for work in self.work:
            work.ends_at = 0.0


async def timed(stores: Stores, sending: Campaign) -> Passed:
    """What a pass says of itself whose time is up after the first claim."""
    time_up = TimeUp()
    work = await attempt(stores, sending, FakeProvider(on_ask=time_up))
    time_up.work.append(work)
    return await ActivityEnvironment().run(work.run)


async def test_pass_whose_time_is_up_says_what_it_did_and_another_does_the_rest(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, CLAIM_SIZE + 10)
    sending = await campaign(database, project)

    first = await timed(stores, sending)
    second = await timed(stores, sending)

    assert (first.is_unfinished, first.counts.sent, first.owing.count) == (True, CLAIM_SIZE, 0)
    assert (second.is_unfinished, second.counts.sent) == (False, CLAIM_SIZE + 10)
    assert second.counts.is_complete


async def test_pass_whose_time_is_up_as_its_batch_is_done_is_finished(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, CLAIM_SIZE)

    passed = await timed(stores, await campaign(database, project))

    assert (passed.is_unfinished, passed.counts.is_complete) == (False, True)


async def test_first_answers_stand_where_the_campaign_was_paused_meanwhile() -> None:
    first, other, pace = FakeProvider({1: BAD, 2: BAD}), FakeProvider(), FreePace()

    found = await outcomes(with_other(first.send, OtherWay(other.send, pace, is_over)), 3)

    assert (found[1], found[2]) == (BAD, BAD)
    assert other.asked == []
    assert pace.out == 0


async def test_what_was_admitted_is_given_back_where_nobody_can_say() -> None:
    first, pace = FakeProvider({1: BAD}), FreePace()

    with pytest.raises(ConnectionError):
        await outcomes(with_other(first.send, OtherWay(FakeProvider().send, pace, fail)), 2)

    assert pace.out == 0


async def test_paused_campaign_sends_nothing_more_to_the_other_environment(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    first, second = await devices(database, project, 2)
    sending = await campaign(database, project)
    refusing = PausingProvider({first: BAD}, database=database, sending=sending)
    work = await attempt(stores, sending, refusing)
    other = FakeProvider()
    work.other = OtherWay(other.send, FreePace(), partial(is_sending, stores, work.key))

    await run(work)

    recorded = await ledger(database, sending)
    assert other.asked == []
    assert (recorded[first].status, recorded[second].status) == ("failed", "sent")


async def is_sending(stores: Stores, key: BatchKey) -> bool:
    async with stores.ledger.connection() as conn:
        return await claims.is_sending(conn, key)
