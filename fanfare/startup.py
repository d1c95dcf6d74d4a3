"""A start before what the process stands on is there: it waits, and says for what."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from fanfare.errors import Misconfigured
from fanfare.readiness import Check, Problems, problems_of

AGAIN = timedelta(seconds=1)

# How long one that waits is silent, where nothing has changed.
SILENCE = timedelta(seconds=30)

log = structlog.get_logger()


async def wait_for(checks: Mapping[str, Check], stopping: asyncio.Event) -> bool:
    """Return True once all are ready, False at once when told to stop.

    Each cause is logged when it appears, and again every half a minute. Raises Misconfigured where
    waiting does not help.
    """
    waiting, told = Waiting(), asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            asking = asyncio.ensure_future(problems_of(checks))
            await asyncio.wait([asking, told], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                await _cancel(asking)
            elif not (problems := asking.result()):
                return True
            else:
                _raise_hopeless(problems)
                waiting.tell(problems)
                await asyncio.wait([told], timeout=AGAIN.total_seconds())
    finally:
        await _cancel(told)
    return False


class Waiting:
    """What was said of it, so that it is said now and then, not every second."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def tell(self, problems: Problems) -> None:
        """Log each reason that is new, or that was not said for a while. What two checks fail for
        is one."""
        now = self._clock()
        named: dict[str, str] = {}
        for name, problem in problems.items():
            named.setdefault(str(problem), name)
        self._said = {reason: at for reason, at in self._said.items() if reason in named}
        for reason, name in named.items():
            if now - self._said.get(reason, -SILENCE.total_seconds()) >= SILENCE.total_seconds():
                self._said[reason] = now
                log.warning("waiting", what=name, reason=reason)


def _raise_hopeless(problems: Problems) -> None:
    for problem in problems.values():
        if isinstance(problem, Misconfigured):
            raise problem


async def _cancel(task: "asyncio.Future[Any]") -> None:  # Any: whatever it would have returned
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
