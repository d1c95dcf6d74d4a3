"""What a campaign's rate and a credential's pace admit together."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from activities.admission import RatedPace
from activities.stores import Stores
from fanfare.models import Lane, Outcome, ProjectCtx
from fanfare.pacing import STOCK_KEEPS
from tests.activities.rate_scene import (
    MINUTE,
    SECOND,
    START,
    Clock,
    Going,
    Place,
    Stopping,
    flow,
    fullest,
    no_matter,
    stop,
)


@pytest.fixture
async def place(stores: Stores, project: ProjectCtx) -> Place:
    return Place(stores, project)


@dataclass
class SlowCredential:
    """Admits what is wanted, the first times after a while; counts what is out."""

    clock: Clock
    holds: list[timedelta] = field(default_factory=list)
    held_until: datetime = START
    out: int = 0
    asked: list[int] = field(default_factory=list)

    async def admit(self, wanted: int) -> int:
        self.asked.append(wanted)
        self.clock.time += self.holds.pop(0) if self.holds else timedelta(0)
        while (now := self.clock.now()) < self.held_until:
            await self.clock.sleep((self.held_until - now).total_seconds())
        self.out += wanted
        return wanted

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        self.out -= len(list(outcomes))

    def done(self, count: int) -> None:
        self.out -= count


async def test_credential_is_asked_for_what_the_rate_lets_go(place: Place) -> None:
    rate = place.rate(await place.campaign(4_800))
    credential = SlowCredential(place.clock)

    admitted = await RatedPace(rate, Lane.FCM, credential, no_matter).admit(200)

    assert (admitted, credential.asked, credential.out) == (10 - 1, [9], 9)


async def test_held_credential_is_followed_by_no_burst(place: Place) -> None:
    campaign_id = await place.campaign(4_800)
    credential = SlowCredential(place.clock, held_until=START + MINUTE)
    workers = [place.rate(campaign_id) for _ in range(5)]
    lanes = [RatedPace(rate, lane, credential, no_matter) for rate in workers for lane in Lane]

    found = await asyncio.gather(*(when_admitted(place.clock, lane) for lane in lanes * 3))

    assert sum(count for _, count in found) == credential.out > 90
    assert min(moment for moment, _ in found) >= START + MINUTE
    # 80 a second; each worker may have kept a portion for a quarter of one.
    assert fullest(sorted(found), SECOND / 10) <= 45


async def when_admitted(clock: Clock, pace: RatedPace) -> Going:
    count = await pace.admit(200)
    return clock.now(), count


async def test_stale_reservation_is_made_anew_and_what_is_over_goes_back(place: Place) -> None:
    campaign_id = await place.campaign(4_800)
    rate, other = place.rate(campaign_id), place.rate(campaign_id)
    credential = SlowCredential(place.clock, [2 * STOCK_KEEPS])

    admitted = await RatedPace(rate, Lane.FCM, credential, no_matter).admit(200)
    found = await flow(place.clock, [other], SECOND)

    assert credential.out == admitted > 0
    assert admitted + sum(count for _, count in found) <= 80 + 10


async def test_wait_that_ends_gives_the_credential_s_room_back(place: Place) -> None:
    campaign_id = await place.campaign(1)
    rate = place.rate(campaign_id)
    credential = SlowCredential(place.clock, [SECOND])
    pace = RatedPace(rate, Lane.FCM, credential, stop)

    with pytest.raises(Stopping):
        await pace.admit(1)

    assert (credential.asked, credential.out) == ([], 0)


async def test_credential_s_room_is_not_kept_while_the_rate_is_far_away(place: Place) -> None:
    rate = place.rate(await place.campaign(1))
    credential = SlowCredential(place.clock, [SECOND])
    pace = RatedPace(rate, Lane.FCM, credential, no_matter, patience=timedelta(0))

    admitted = await pace.admit(1)

    assert (admitted, credential.asked, credential.out) == (1, [1, 1], 1)
    assert place.clock.now() - START >= MINUTE
