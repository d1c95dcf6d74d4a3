"""A worker that comes to a stand at a point of its way, so that it can be killed exactly there.

It is worker.py with some of its classes replaced by ones that wait where they are told to, for
good. The order is a file, named by HOLDS, of campaigns and points; whoever starts reads and removes
it, so that the next worker that starts goes all the way. Each project has connections of its own:
several campaigns can stand in one process, each at another point.

Run `python -m tests.faults.crashing_worker`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import structlog
from pydantic import TypeAdapter

import worker
from activities import batches, campaigns
from activities.delivery import BatchPass
from fanfare.db.audience import BatchSizes
from fanfare.db.claims import ClaimedToken
from fanfare.models import Target
from fanfare.providers import Answered, Send, apns, fcm, http2
from fanfare.providers.exchange import Exchange, Headers, OnResult
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_connection import Http2Connection

# The file that says who stands where, and how many devices a batch holds.
HOLDS = "FANFARE_TEST_HOLDS"
BATCH_SIZE = "FANFARE_TEST_BATCH_SIZE"

STANDS = "stands_at_crash_point"
CLAIMED = "claimed_up_to"

# A worker that stands gives nothing up, however long the test looks at it.
PATIENCE = timedelta(hours=1)


class CrashPoint(StrEnum):
    """Where a message is when its process dies.

    P1: claimed, and nothing of it written. P2: written, and not accepted; the script has the
    provider not accept it, so here it only goes out. P3: accepted, and nothing of the answer read.
    P4: its answer is in memory, and not committed. P5: committed, and its activity not completed.
    """

    CLAIMED = "P1"
    WRITTEN = "P2"
    ACCEPTED = "P3"
    ANSWERED = "P4"
    COMMITTED = "P5"


HOLDS_FILE = TypeAdapter(dict[UUID, CrashPoint])

log = structlog.get_logger()


@dataclass
class Holds:
    """Who stands where. The first claim of each campaign, its canary's, goes all the way."""

    points: Mapping[UUID, CrashPoint]
    begun: set[UUID] = field(default_factory=set)
    # Where the claim that runs in this task comes to a stand.
    here: ContextVar[CrashPoint | None] = field(
        default_factory=lambda: ContextVar("crash_point", default=None)
    )

    def begin(self, campaign_id: UUID) -> CrashPoint | None:
        """Note that this task delivers a claim of the campaign, and say where it stands."""
        point = self.points.get(campaign_id) if campaign_id in self.begun else None
        self.begun.add(campaign_id)
        self.here.set(point)
        return point


def take_holds(path: Path) -> Holds:
    """Read who stands where, and have the next worker that starts go all the way."""
    if not path.exists():
        return Holds({})
    points = HOLDS_FILE.validate_json(path.read_bytes())
    path.unlink()
    return Holds(points)


def standing_pass(holds: Holds) -> type[BatchPass]:
    """A pass that stands with its claims: before they go out, unrecorded, or recorded."""

    class StandingPass(BatchPass):
        async def _claim(self, most: int) -> Sequence[ClaimedToken]:
            tokens = await super()._claim(most)
            place = {"batch": self.batch.number, "epoch": self.batch.epoch}
            log.info(CLAIMED, campaign=str(self.campaign.id), claimed=self.claimed, **place)
            return tokens

        async def _deliver(self, tokens: Sequence[ClaimedToken]) -> None:
            point = holds.begin(self.campaign.id)
            await self._stand_at(CrashPoint.CLAIMED, point)
            await super()._deliver(tokens)
            await self._stand_at(CrashPoint.COMMITTED, point)

        def _way(self) -> Send:
            way = super()._way()

            async def answered(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
                groups = [group async for group in way(targets)]
                await self._stand_at(CrashPoint.ANSWERED, CrashPoint.ANSWERED)
                yield list(chain.from_iterable(groups))

            return answered if holds.here.get() is CrashPoint.ANSWERED else way

        async def _stand_at(self, here: CrashPoint, point: CrashPoint | None) -> None:
            if here is point:
                # Whoever waits for it reads the log.
                log.info(STANDS, point=point, campaign=str(self.campaign.id))
                await asyncio.Event().wait()

    return StandingPass


class DeafConnection(Http2Connection):
    """A connection that can be told to read no more; what comes stays in the kernel."""

    def stop_reading(self) -> None:
        assert self._transport is not None
        if self._transport.is_reading():
            self._transport.pause_reading()


def deaf_pool(holds: Holds) -> type[Http2Pool]:
    """A pool that reads nothing more from when a request goes out that stands at P3."""

    class DeafPool(Http2Pool):
        def __init__(self, url: str, *, deadline: timedelta, **options: Any) -> None:  # Any: theirs
            super().__init__(url, deadline=max(deadline, PATIENCE), **options)
            self.is_deaf = False

        def submit(
            self,
            path: bytes,
            headers: Headers,
            body: bytes,
            on_result: OnResult,
            own_headers: Headers = (),
        ) -> Exchange:
            if holds.here.get() is CrashPoint.ACCEPTED and not self.is_deaf:
                self.is_deaf = True
                for connection in self._connections:
                    _stop_reading(connection)
            return super().submit(path, headers, body, on_result, own_headers)

        async def _open_connection(self) -> Http2Connection:
            connection = await super()._open_connection()
            # Before its first request goes out.
            if self.is_deaf:
                _stop_reading(connection)
            return connection

    return DeafPool


def _stop_reading(connection: Http2Connection) -> None:
    assert isinstance(connection, DeafConnection)
    connection.stop_reading()


def main(run: Callable[[], None] = worker.main) -> None:
    """Work, and stand where the order says."""
    holds = take_holds(Path(os.environ[HOLDS]))
    with ExitStack() as replaced:
        if size := os.environ.get(BATCH_SIZE):
            sizes = BatchSizes(batch=int(size))
            replaced.enter_context(patch.object(campaigns, "SIZES", sizes))
        replaced.enter_context(patch.object(batches, "BatchPass", standing_pass(holds)))
        if holds.points:
            pool = deaf_pool(holds)
            replaced.enter_context(patch.object(http2, "Http2Connection", DeafConnection))
            for provider in (apns, fcm):
                replaced.enter_context(patch.object(provider, "Http2Pool", pool))
        run()


if __name__ == "__main__":
    main()
