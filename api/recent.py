"""An answer that is found once, however many ask for it at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

KEEP_SECONDS = 1.0


class Recent:
    """What was found last, for a second. Who asks while it is being found waits for it."""

    def __init__(self) -> None:
        self._finding = asyncio.Lock()
        self._found: object = None
        self._found_at = -KEEP_SECONDS

    async def get(self, find: Callable[[], Awaitable[object]]) -> object:
        """What `find` returns, or returned within the last second."""
        async with self._finding:
            if time.monotonic() - self._found_at >= KEEP_SECONDS:
                self._found = await find()
                self._found_at = time.monotonic()
            return self._found
