"""Every fault at once: each request ends exactly once, and no answer is made up."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from fanfare.providers.exchange import Answer
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import Request, hostile_server, ok
from tests.providers.transport import SHORT, not_processed, pool_for, post, statuses, unknown

COUNT = 3_000
IN_FLIGHT = 200


def silent(request: Request) -> None:
    """Never answer."""


def late(request: Request) -> None:
    """Answer in a later turn, if the stream is still there."""
    asyncio.get_running_loop().call_later(0.01, request.answer_if_open)


FAULTS: list[tuple[int, Callable[[Request], None]]] = [
    (800, ok),
    (100, late),
    (40, lambda request: request.answer(503, b"x" * 70_000)),
    (20, lambda request: request.reset(7)),
    (20, lambda request: request.reset(2)),
    (5, silent),
    (5, lambda request: request.peer.limit_streams(1)),
    (5, lambda request: request.peer.limit_streams(100)),
    (2, lambda request: request.peer.go_away(request.stream_id)),
    (2, lambda request: request.peer.hang_up()),
]


@pytest.mark.parametrize("seed", range(3))
async def test_each_request_ends_exactly_once(engine: EngineName, seed: int) -> None:
    dice = random.Random(seed)
    weights, faults = zip(*FAULTS, strict=True)
    gate = asyncio.Semaphore(IN_FLIGHT)

    def behaviour(request: Request) -> None:
        dice.choices(faults, weights)[0](request)

    async with (
        hostile_server(behaviour, max_streams=50) as server,
        pool_for(server, engine, max_connections=3, deadline=SHORT) as pool,
        asyncio.timeout(60),
    ):

        async def one(number: int) -> object:
            async with gate:
                return await post(pool, str(number))

        results = await asyncio.gather(*(one(number) for number in range(COUNT)))

        answers = [result for result in results if isinstance(result, Answer)]
        seen = Counter(request.path for request in server.requests)
        assert len(answers) + len(not_processed(results)) + len(unknown(results)) == COUNT
        assert set(statuses(results)) <= {200, 503}
        assert max(seen.values()) == 1
        assert len(seen) >= len(answers)
