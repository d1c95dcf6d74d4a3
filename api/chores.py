"""What is still to be done for a request that has been answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Chores:
    """Work in the background. None of it outlives `close`, which leaves it undone."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[Any, Any, None]) -> None:  # Any: neither is used
        """Begin it now; nobody waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def done(self) -> None:
        """Return when nothing is left of what was begun so far."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """End what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
