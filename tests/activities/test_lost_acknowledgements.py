"""Commits that PostgreSQL made and of which the worker never heard: done once, and not in doubt."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities import delivery
from activities.delivery import CLAIM_SIZE, BatchPass
from activities.stores import Stores
from fanfare.db.batches import BatchCounts
from fanfare.db.claims import ClaimedToken, ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.errors import DatabaseUnavailable
from fanfare.models import ErrorCode, OnUnknown, Outcome, ProjectCtx, Verdict
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
from tests.faults.proxy import ChaosProxy, Trigger

LATER = timedelta(minutes=1)
REFUSED = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "TooManyRequests", retry_after=LATER)
SENT_ONCE = Recorded("sent", None, None, possible_duplicate=False)


def is_plain_settlement(data: bytes) -> bool:
    """Of two messages or more: a column's values are parted by that."""
    return b"sent\x1fsent" in data


def is_commit(data: bytes) -> bool:
    return b"COMMIT" in data


class LosesClaims(BatchPass):
    """Is told of none of its claims at first."""

    async def _claim(self, most: int) -> Sequence[ClaimedToken]:
        claimed = self.claimed
        tokens = await super()._claim(most)
        if self.claimed == claimed or self.is_told:
            self.is_told = False
            return tokens
        self.claimed, self.is_told = claimed, True
        raise DatabaseUnavailable("The answer is lost.")

    is_told = False


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "AGAIN_SECONDS", 0.01)


@pytest.fixture
async def proxy(postgres_port: int) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy.running(postgres_port) as proxy:
        yield proxy


@pytest.fixture
async def distant(
    proxy: ChaosProxy, database: Database, database_url: str, postgres_port: int
) -> AsyncIterator[Stores]:
    """The ledger behind the proxy."""
    url = database_url.replace(str(postgres_port), str(proxy.port))
    ledger_pool = LedgerPool(url, size=1, statement_timeout=timedelta(seconds=1))
    await ledger_pool.open()
    yield Stores(database, ledger_pool)
    await ledger_pool.close()


# What is to be tried again takes a transaction of several statements.
@pytest.mark.parametrize(
    ("trigger", "refused"), [(is_plain_settlement, 0), (is_commit, 1)], ids=["statement", "commit"]
)
async def test_outcomes_whose_commit_was_not_acknowledged_are_recorded_once_and_are_no_repeats(
    database: Database,
    distant: Stores,
    proxy: ChaosProxy,
    project: ProjectCtx,
    trigger: Trigger,
    refused: int,
) -> None:
    ids = await devices(database, project, 10)
    sending = await campaign(database, project)
    provider = FakeProvider(dict.fromkeys(ids[:refused], REFUSED))
    work = await attempt(distant, sending, provider)

    proxy.cut_answer_to(trigger)
    await run(work)
    await make_due(database, project)
    ended = await run(await attempt(distant, sending, FakeProvider()))

    assert proxy.cuts == 1
    assert sorted(provider.asked) == ids
    assert ended == BatchCounts(10, sent=10)
    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_ONCE)
    assert (await stats(database, sending)).possible_duplicates == 0


@pytest.mark.parametrize("on_unknown", [OnUnknown.RESEND, OnUnknown.SKIP])
async def test_a_claim_that_was_not_acknowledged_is_sent_once_and_not_in_doubt(
    database: Database, stores: Stores, project: ProjectCtx, on_unknown: OnUnknown
) -> None:
    ids = await devices(database, project, 2 * CLAIM_SIZE + 1)
    sending = await campaign(database, project, on_unknown=on_unknown)
    provider = FakeProvider()
    work = await attempt(stores, sending, provider)

    ended = await run(
        LosesClaims(work.stores, work.key, work.batch, work.campaign, work.send, work.pace)
    )

    assert sorted(provider.asked) == ids
    assert ended == BatchCounts(len(ids), sent=len(ids))
    assert await ledger(database, sending) == dict.fromkeys(ids, SENT_ONCE)


async def test_a_claim_of_an_attempt_that_was_superseded_is_not_made_once_more(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    ids = await devices(database, project, 3)
    sending = await campaign(database, project)
    superseded, current = FakeProvider(), FakeProvider()
    late = await attempt(stores, sending, superseded)

    await ActivityEnvironment().run(late._claim, CLAIM_SIZE)
    late.claimed = 0
    await run(await attempt(stores, sending, current))
    with pytest.raises(ClaimRefused):
        await ActivityEnvironment().run(late._claim, CLAIM_SIZE)

    assert superseded.asked == []
    assert sorted(current.asked) == ids
