"""A campaign's rate over a real PostgreSQL, with a clock that is only ever told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import sqlalchemy as sa

from activities.rates import CampaignRates
from activities.stores import Stores
from fanfare.db import rates
from fanfare.db.claims import ClaimRefused
from fanfare.db.ledger_pool import LedgerConnection, LedgerPool
from fanfare.db.tables import rate_paces
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, ProjectCtx
from fanfare.rates import PORTION
from tests.activities.rate_scene import (
    MINUTE,
    SECOND,
    START,
    Place,
    Stopping,
    flow,
    fullest,
    no_matter,
    stop,
    total,
)


@pytest.fixture
async def place(stores: Stores, project: ProjectCtx) -> Place:
    return Place(stores, project)


async def test_three_workers_together_hold_the_limit_and_use_it(place: Place) -> None:
    campaign_id = await place.campaign(rate_limit=5_000)
    workers = [place.rate(campaign_id) for _ in range(3)]

    found = await flow(place.clock, workers, 2 * MINUTE)

    assert fullest(found, MINUTE) <= 1.02 * 5_000
    assert sum(count for _, count in found) >= 0.97 * 2 * 5_000
    assert fullest(found, SECOND) <= 5_000 / 60 * (1 + 2 * PORTION / SECOND)


async def test_rate_above_5000_a_minute_rises_over_its_first_minute(place: Place) -> None:
    campaign_id = await place.campaign(rate_limit=12_000)
    workers = [place.rate(campaign_id), place.rate(campaign_id)]

    found = await flow(place.clock, workers, 2 * MINUTE)

    tenths = [total(found, START, START + 6 * SECOND), total(found, START, START + MINUTE)]
    assert tenths == [pytest.approx(1_200 * 0.0975, rel=0.2), pytest.approx(6_300, rel=0.05)]
    assert total(found, START + MINUTE, START + 2 * MINUTE) == pytest.approx(12_000, rel=0.03)
    assert fullest(found, MINUTE) <= 1.02 * 12_000


async def test_reservations_of_many_at_once_add_up(place: Place) -> None:
    campaign_id = await place.campaign(rate_limit=4_800)
    workers = [place.rate(campaign_id), place.rate(campaign_id)] * 20

    counts = await asyncio.gather(*(worker.admit(5, no_matter) for worker in workers))

    # 80 a second; the clock jumps for whoever sleeps, and may leave some of it unused.
    assert min(counts) >= 1
    assert place.clock.now() - START >= (sum(counts) - 10) / 80 * SECOND


async def test_what_a_worker_reserves_and_does_not_use_is_not_sent_later(place: Place) -> None:
    campaign_id = await place.campaign(rate_limit=4_800)
    rate = place.rate(campaign_id)

    await rate.admit(1, no_matter)
    place.clock.time += MINUTE
    later = await flow(place.clock, [rate], 10 * SECOND)

    assert fullest(later, SECOND) <= 80 + 10


async def test_project_s_limit_holds_for_all_its_campaigns_together(place: Place) -> None:
    await place.limit_project(3_000)
    campaigns = [await place.campaign(), await place.campaign(), await place.campaign(1_000)]

    found = await flow(place.clock, [place.rate(each) for each in campaigns], MINUTE)

    assert fullest(found, MINUTE) <= 3_000
    assert sum(count for _, count in found) >= 0.97 * 3_000


async def test_campaign_s_own_limit_holds_within_its_project_s(place: Place) -> None:
    await place.limit_project(3_000)
    slow, quick = await place.campaign(600), await place.campaign()

    alone = await flow(place.clock, [place.rate(slow)], 10 * SECOND)
    place.clock.time += MINUTE
    both = await flow(place.clock, [place.rate(slow), place.rate(quick)], 10 * SECOND)

    assert 0.97 * 100 <= sum(count for _, count in alone) <= 100
    assert sum(count for _, count in both[::2]) <= 100
    assert sum(count for _, count in both) <= 500


@pytest.mark.parametrize(
    ("before", "after"), [(3_000, 600), (600, 3_000), (1, 4_800), (4_800, 1), (None, 1_200)]
)
async def test_change_of_the_limit_is_heard_by_every_worker_within_two_seconds(
    place: Place, before: int | None, after: int
) -> None:
    campaign_id = await place.campaign(before)
    workers = [place.rate(campaign_id), place.rate(campaign_id)]
    await asyncio.gather(*(worker.admit(1, no_matter) for worker in workers[:1]))

    await place.limit(campaign_id, after)
    place.clock.time += 2 * SECOND
    found = await flow(place.clock, workers, MINUTE)

    assert 0.95 * after <= sum(count for _, count in found) <= after


async def test_who_waits_for_its_turn_hears_that_the_limit_was_taken_away(place: Place) -> None:
    campaign_id = await place.campaign(1)
    rate = place.rate(campaign_id)
    await rate.admit(1, no_matter)

    place.clock.on_sleep = partial(place.limit, campaign_id, None)
    count = await rate.admit(200, no_matter)

    assert count == 200
    assert place.clock.now() - START <= 3 * SECOND


async def test_limit_that_is_set_while_it_sends_is_heard_within_a_second(place: Place) -> None:
    campaign_id = await place.campaign()
    rate = place.rate(campaign_id)

    before = await rate.admit(200, no_matter)
    await place.limit(campaign_id, 60)
    place.clock.time += SECOND
    after = await rate.admit(200, no_matter)

    assert (before, after) == (200, 1)


@pytest.mark.parametrize(
    "change", [{"paused_at": START}, {"status": CampaignStatus.CANCELLED}], ids=["pause", "cancel"]
)
@pytest.mark.parametrize("limit", [None, 1])
async def test_pause_and_end_are_heard_by_who_waits(
    place: Place, change: dict[str, object], limit: int | None
) -> None:
    campaign_id = await place.campaign(limit)
    rate = place.rate(campaign_id)
    await rate.admit(1, no_matter)

    await place.change(campaign_id, **change)
    place.clock.time += SECOND
    waiting = await asyncio.gather(
        rate.admit(1, no_matter), rate.admit(1, no_matter), return_exceptions=True
    )

    assert [type(error) for error in waiting] == [ClaimRefused, ClaimRefused]


async def test_all_who_wait_may_leave_within_a_second(place: Place) -> None:
    campaign_id = await place.campaign(1)
    rate = place.rate(campaign_id)
    await rate.admit(1, no_matter)

    waiting = (rate.admit(1, stop) for _ in range(20))
    left = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in left] == [Stopping] * 20
    assert place.clock.now() - START <= SECOND


async def test_without_a_limit_it_costs_one_look_a_second(place: Place) -> None:
    ledger = CountingPool(place.stores.ledger)
    rate = place.rate(await place.campaign(), ledger)

    counts = [await rate.admit(200, no_matter) for _ in range(1_000)]
    place.clock.time += SECOND
    await rate.admit(200, no_matter)

    assert (set(counts), ledger.uses) == ({200}, 2)
    assert await place.subjects() == []


async def test_batches_of_a_campaign_share_its_rate_while_they_last(place: Place) -> None:
    campaign_id = await place.campaign()
    held = CampaignRates(place.stores.ledger)

    first = held.find(place.project, campaign_id)

    assert held.find(place.project, campaign_id) is first
    assert held.find(place.project, new_id()) is not first


async def test_rates_that_nobody_uses_are_forgotten(place: Place) -> None:
    used, unused = await place.campaign(60), await place.campaign(60)
    await place.rate(used).admit(1, no_matter)
    await place.rate(unused).admit(1, no_matter)

    old = sa.update(rate_paces).where(rate_paces.c.subject_id == unused)
    async with place.stores.database.transaction() as conn:
        await conn.execute(old.values(updated_at=sa.func.now() - 2 * rates.FORGET_AFTER))
        await rates.forget_old(conn)

    assert await place.subjects() == [used]


class CountingPool(LedgerPool):
    """Another pool, and how often it was used."""

    def __init__(self, pool: LedgerPool) -> None:
        self.pool = pool
        self.uses = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LedgerConnection]:
        self.uses += 1
        async with self.pool.connection() as conn:
            yield conn
