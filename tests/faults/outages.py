"""Outages of what the stack stands on: how they are made, and what is seen of a campaign in one.

The workers reach PostgreSQL and Temporal, and the API reaches PostgreSQL, through proxies.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from temporalio.client import Client

from fanfare.dev.api_client import Campaign
from fanfare.dev.stack import Ports, Stack
from tests.faults.proxy import ChaosProxy
from tests.faults.staging import WORKERS, Stage, Staged
from tests.faults.stops import reaches

THREADS = 16
# Longer than a request takes here, shorter than any outage.
QUIET_SECONDS = 2.0

Deed = Callable[[], Awaitable[object]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Links:
    """The stage, and the proxies between its parts."""

    stage: Stage
    workers_database: ChaosProxy
    workers_temporal: ChaosProxy
    api_database: ChaosProxy


@dataclass(frozen=True, slots=True)
class Outage:
    """What was seen of a campaign in an outage.

    `burst`: requests from the strike until there were none; `during`: those after that, until it
    was mended. In seconds: how long it lasted, how long after the mend the next message was
    accepted, and the longest time between two acceptances.
    """

    staged: Staged
    burst: int
    during: int
    lasted: float
    recovered_after: float
    longest_stall: float
    ended: Campaign


@dataclass(slots=True)
class Quiet:
    """Whether a campaign's providers are asked no more."""

    staged: Staged
    asked: int = -1
    since: float = field(default_factory=time.monotonic)

    def has_come(self) -> bool:
        asked, now = self.staged.asked(), time.monotonic()
        if asked != self.asked:
            self.asked, self.since = asked, now
        return now - self.since > QUIET_SECONDS


@asynccontextmanager
async def linked(home: Path) -> AsyncIterator[Links]:
    """A stack with proxies between its parts, that keeps its files in `home`."""
    ports = Ports.find(preferred=False)
    async with AsyncExitStack() as proxies:
        database, temporal, of_api = [
            await proxies.enter_async_context(ChaosProxy.running(port))
            for port in (ports.postgres, ports.temporal, ports.postgres)
        ]
        kind = _stack_behind(database, temporal, of_api)
        threads = proxies.enter_context(ThreadPoolExecutor(THREADS))
        # In a thread: the parts reach each other through the proxies, which are served here.
        do = partial(asyncio.get_running_loop().run_in_executor, threads)
        running = kind.running(home, ports, workers=WORKERS)
        stack = await do(running.__enter__)
        proxies.push_async_callback(do, running.__exit__, None, None, None)
        client = await Client.connect(stack.temporal_address)
        stage = Stage(stack, database, client, threads)
        yield Links(stage, database, temporal, of_api)


def _stack_behind(database: ChaosProxy, temporal: ChaosProxy, of_api: ChaosProxy) -> type[Stack]:
    class StackBehindProxies(Stack):
        def __init__(self, home: Path, ports: Ports, *, workers: int = 1) -> None:
            super().__init__(home, ports, workers=workers)
            database.target = of_api.target = ("127.0.0.1", ports.postgres)
            temporal.target = ("127.0.0.1", ports.temporal)

        def _worker_environment(self) -> Mapping[str, str]:
            return {
                **super()._worker_environment(),
                "FANFARE_DATABASE_URL": self._database_at(database.port),
                "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal.port}",
            }

        def _api_environment(self) -> Mapping[str, str]:
            return {
                **super()._api_environment(),
                "FANFARE_DATABASE_URL": self._database_at(of_api.port),
            }

        def _database_at(self, port: int) -> str:
            return self.database_url.replace(f":{self.ports.postgres}/", f":{port}/")

    return StackBehindProxies


async def play(
    staged: Staged,
    strike: Deed,
    mend: Deed,
    *,
    seconds: float,
    meanwhile: Deed | None = None,
) -> Outage:
    """Send, strike in the midst of it, and mend it after so many seconds.

    `meanwhile` is done once the providers are asked no more.
    """
    stage = staged.stage
    await staged.send()
    await reaches(staged, staged.size // 4)
    struck_at = time.time()
    await strike()
    before, quiet = staged.asked(), Quiet(staged)
    await stage.until(quiet.has_come)
    if meanwhile is not None:
        await meanwhile()
    await stage.until(lambda: time.time() - struck_at > seconds)
    during = staged.asked() - quiet.asked
    await mend()
    mended_at = time.time()
    ended = await staged.over()
    accepted = staged.accepted_at()
    outage = Outage(
        staged=staged,
        burst=quiet.asked - before,
        during=during,
        lasted=mended_at - struck_at,
        recovered_after=min((at for at in accepted if at > mended_at), default=0) - mended_at,
        longest_stall=max(later - earlier for earlier, later in pairwise(accepted)),
        ended=ended,
    )
    report(outage)
    return outage


def report(outage: Outage) -> None:
    """Log what was measured."""
    log.info(
        "lasted %.1f s, burst %d, during %d, asked %d of %d, flagged %d, unknown %d, "
        "longest stall %.1f s, recovered after %.1f s",
        *(outage.lasted, outage.burst, outage.during),
        *(outage.staged.asked(), outage.staged.size),
        *(outage.ended.stats.possible_duplicates, outage.ended.stats.unknown),
        *(outage.longest_stall, outage.recovered_after),
    )
