"""Heartbeats: they say that the activity lives, and carry no truth."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

# A third of the heartbeat time-out that the workflows name.
INTERVAL_SECONDS = 5.0


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Beat while the block runs. Without it a cancellation would not reach the activity."""
    heart = asyncio.create_task(_beat())
    try:
        yield
    finally:
        heart.cancel()


async def _beat() -> None:
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        activity.heartbeat()
