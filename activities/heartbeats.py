"""Heartbeats: they say that the activity lives, and what it waits for; they carry no truth."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from temporalio import activity

# A third of the heartbeat time-out that the workflows name.
INTERVAL_SECONDS = 5.0

# Who waits says so at every beat, or at every try; who does not, goes on.
NOTE_KEEPS_SECONDS = 10.0


# Until when whoever is asked holds somebody back now; None where it does not.
Ask: TypeAlias = Callable[[], datetime | None]


class Wait(StrEnum):
    """What an activity waits for: words for the Temporal web UI."""

    DATABASE = "PostgreSQL"
    PROVIDER = "the provider"
    RATE = "the rate"


@dataclass(slots=True)
class Waiting:
    """What the activity said last that it waits for, with the times of the monotonic clock."""

    wait: Wait | None = None
    until: datetime | None = None
    began_at: float = 0.0
    noted_at: float = 0.0
    asks: list[tuple[Wait, Ask]] = field(default_factory=list)

    def note(self, wait: Wait, until: datetime | None, now: float) -> None:
        """Say it, or say it again."""
        if wait is not self.wait or not self._is_fresh(now):
            self.began_at = now
        self.wait, self.until, self.noted_at = wait, until, now

    def details(self, now: float) -> Mapping[str, object] | None:
        """As a heartbeat's details. None where it does not wait."""
        for wait, ask in self.asks:
            if (until := ask()) is not None:
                self.note(wait, until, now)
                break
        if self.wait is None or not self._is_fresh(now):
            return None
        details: dict[str, object] = {
            "waits_for": self.wait.value,
            "seconds": round(now - self.began_at),
        }
        if self.until is not None:
            details["until"] = self.until.astimezone(UTC).isoformat(timespec="seconds")
        return details

    def _is_fresh(self, now: float) -> bool:
        return self.wait is not None and now - self.noted_at < NOTE_KEEPS_SECONDS


# What belongs to one activity reaches whoever works for it, through every layer between.
_waiting: ContextVar[Waiting | None] = ContextVar("waiting", default=None)


def note(wait: Wait, until: datetime | None = None) -> None:
    """Have the activity's heartbeats say that it waits, for some seconds from now on.

    Outside of an activity that beats it does nothing.
    """
    waiting = _waiting.get()
    if waiting is not None:
        waiting.note(wait, until, time.monotonic())


@contextmanager
def asking(wait: Wait, ask: Ask) -> Iterator[None]:
    """Have the activity's heartbeats, while the block runs, say what holds it back.

    Where several do, the first that was named counts.
    """
    waiting = _waiting.get() or Waiting()
    waiting.asks.append((wait, ask))
    try:
        yield
    finally:
        waiting.asks.remove((wait, ask))


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Beat while the block runs. Without it a cancellation would not reach the activity."""
    waiting = Waiting()
    before = _waiting.set(waiting)
    heart = asyncio.create_task(_beat(waiting))
    try:
        yield
    finally:
        heart.cancel()
        _waiting.reset(before)


async def _beat(waiting: Waiting) -> None:
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        details = waiting.details(time.monotonic())
        activity.heartbeat(*([] if details is None else [details]))
