"""A batch that waits for its turn: what it asks for, and what ends the wait."""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.delivery import CLAIM_SIZE, CampaignExpired, PassEndedEarly, PassTimeUp, end_wait
from activities.stores import Stores
from fanfare.db.engine import Database
from fanfare.models import ProjectCtx
from tests.activities.passes import run
from tests.activities.scene import FakeProvider, FreePace, attempt, campaign, devices, stats


@dataclass
class WatchedPace(FreePace):
    """Keeps what it was asked for; `expires` is when the campaign is found to have expired."""

    asked: list[int] = field(default_factory=list)
    expires: int | None = None

    async def admit(self, wanted: int) -> int:
        if len(self.asked) == self.expires:
            raise CampaignExpired
        self.asked.append(wanted)
        return await super().admit(wanted)


async def test_batch_asks_for_no_more_than_it_can_claim(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, 2 * CLAIM_SIZE + 1)
    work = await attempt(stores, await campaign(database, project), FakeProvider())
    pace = work.pace = WatchedPace()

    await run(work)

    assert pace.asked == [CLAIM_SIZE, CLAIM_SIZE, 1]


async def test_campaign_that_expires_while_it_waits_skips_the_rest(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await devices(database, project, CLAIM_SIZE + 10)
    sending = await campaign(database, project)
    work = await attempt(stores, sending, FakeProvider())
    work.pace = WatchedPace(expires=1)

    ended = await run(work)

    assert (ended.sent, ended.skipped, ended.is_complete) == (CLAIM_SIZE, 10, True)
    assert (await stats(database, sending)).skipped_by == {"expired": 10}


async def test_wait_ends_where_worker_campaign_or_pass_are_at_their_end(
    database: Database, project: ProjectCtx
) -> None:
    sending = await campaign(database, project)
    late = replace(sending, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    working, stopping = ActivityEnvironment(), ActivityEnvironment()
    stopping.worker_shutdown()

    working.run(end_wait, sending)
    with pytest.raises(CampaignExpired):
        working.run(end_wait, late)
    with pytest.raises(PassEndedEarly):
        stopping.run(end_wait, sending)
    with pytest.raises(PassTimeUp):
        working.run(end_wait, sending, time.monotonic() - 1)
