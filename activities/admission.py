"""How a message's way to its provider is held back, and how what went out is given back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from activities.rates import CampaignRate, OnWait
from fanfare.models import Lane, Outcome, Target
from fanfare.pacing import STOCK_KEEPS
from fanfare.providers import Answered, Send

# How long what a credential admitted is kept while the rate is asked once more; meanwhile it may
# be the one message by which the breaker learns whether the provider is back.
PATIENCE = timedelta(seconds=5)


class Admission(Protocol):
    """When, and how many at once: see `pace.Pace`."""

    async def admit(self, wanted: int) -> int:
        """Wait until something may go out. Returns how many."""

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        """Give admitted messages back with their outcomes."""

    def done(self, count: int) -> None:
        """Give admitted messages back without."""


class RatedPace:
    """The pace of a lane's credential, for one campaign that has a rate of its own as well.

    The rate is asked first: nobody waits for it with a credential's room in hand. Only the first
    of a campaign's batches waits for the credential; what it has of the rate is stale where that
    took long, and is reserved anew, so that nothing bursts when a credential's hold is over.
    """

    def __init__(
        self,
        rate: CampaignRate,
        lane: Lane,
        pace: Admission,
        on_wait: OnWait,
        *,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._rate = rate
        self._turn = rate.turn(lane)
        self._pace = pace
        self._on_wait = on_wait
        self._patience = patience

    async def admit(self, wanted: int) -> int:
        """Wait until something may go out, by all limits. Returns how many, 1 to `wanted`.

        Raises what `CampaignRate.admit` and the credential's pace raise; then it has admitted
        nothing. What was reserved of the rate is lost then, and where it was stale.
        """
        async with self._turn:
            while True:
                rated = await self._rate.admit(wanted, self._on_wait)
                rated_at = self._rate.now()
                admitted = await self._pace.admit(rated)
                if self._rate.now() - rated_at <= STOCK_KEEPS:
                    self._rate.give_back(rated - admitted)
                    return admitted
                if renewed := await self._renew(admitted):
                    return renewed

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        """Give messages back with what became of them."""
        self._pace.answered(outcomes)

    def done(self, count: int) -> None:
        """Give back messages that were not sent, or of which nothing is known."""
        self._pace.done(count)

    async def _renew(self, admitted: int) -> int:
        """How many of what the credential admitted the rate lets go now; 0 where it takes long."""
        renewed = 0
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                renewed = await self._rate.admit(admitted, self._on_wait)
        except TimeoutError:
            pass
        finally:
            self._pace.done(admitted - renewed)
        return renewed


def giving_back(send: Send, pace: Admission) -> Send:
    """`send` for messages that were admitted: each goes back to the pace as soon as it may.

    That is with its answer, before anything else is asked because of it.
    """

    async def send_admitted(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        unanswered = len(targets)
        try:
            async for group in send(targets):
                pace.answered([outcome for _, outcome in group])
                unanswered -= len(group)
                yield group
        finally:
            pace.done(unanswered)

    return send_admitted
