"""One send() of many targets: groups, back-pressure, early ends, and defects at one message."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta

import pytest

from fanfare.models import ErrorCode, Outcome, Target, Verdict
from fanfare.providers import Answered
from fanfare.providers.exchange import Answer, Exchange, OnResult, Result
from fanfare.providers.flight import Flight
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import Request, answer_all, hostile_server
from tests.providers.simulated import answered_of
from tests.providers.transport import BODY, LONG, pool_for, post, statuses

SENT = Outcome(Verdict.SENT)
DEFECT = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "internal")
AT_ONCE = timedelta(0)


async def test_all_that_is_known_at_the_end_is_one_group(engine: EngineName) -> None:
    async with hostile_server() as server, pool_for(server, engine) as pool:
        groups = [group async for group in _send(pool, _targets(50), interval=LONG)]

    assert len(groups) == 1
    assert dict(groups[0]) == dict.fromkeys(_targets(50), SENT)


async def test_group_comes_when_the_interval_has_passed_and_something_is_known(
    engine: EngineName,
) -> None:
    held: list[Request] = []

    def behaviour(request: Request) -> None:
        {"/1": held.append}.get(request.path, Request.answer)(request)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        groups = _send(pool, _targets(2), interval=AT_ONCE)
        first = await anext(groups)
        answer_all(held)
        rest = [group async for group in groups]

    assert first == [(Target(0, "0"), SENT)]
    assert rest == [[(Target(1, "1"), SENT)]]


async def test_no_targets_are_no_groups(engine: EngineName) -> None:
    async with hostile_server() as server, pool_for(server, engine) as pool:
        groups = [group async for group in _send(pool, [])]

    assert groups == []


async def test_thousand_targets_wait_their_turn_for_a_hundred_streams(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        asyncio.get_running_loop().call_later(0.05, request.answer_if_open)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        groups = [group async for group in _send(pool, _targets(1_000))]

        assert dict(answered_of(groups)) == dict.fromkeys(_targets(1_000), SENT)
        assert (server.most_open, len(server.peers)) == (100, 1)


async def test_sends_at_once_share_the_connection_and_each_gets_its_own(engine: EngineName) -> None:
    async with hostile_server(max_streams=20) as server, pool_for(server, engine) as pool:
        sends = [_collect(pool, _targets(50, start=100 * number)) for number in range(8)]
        outcomes = await asyncio.gather(*sends)

    assert [
        [target.token_id for target, _ in sorted(answered, key=_number)] for answered in outcomes
    ] == [list(range(100 * number, 100 * number + 50)) for number in range(8)]


async def test_closing_early_resets_what_is_open_and_forgets_what_waits(engine: EngineName) -> None:
    held: list[Request] = []

    def behaviour(request: Request) -> None:
        {"/0": Request.answer}.get(request.path, held.append)(request)

    async with hostile_server(behaviour, max_streams=5) as server, pool_for(server, engine) as pool:
        async with aclosing(_send(pool, _targets(20), interval=AT_ONCE)) as groups:
            first = await anext(groups)
            await server.seen(lambda: len(held) == 5)
        await server.seen(lambda: len(server.resets) == 5)
        server.behaviour = Request.answer
        after = await post(pool, "after")

        assert first == [(Target(0, "0"), SENT)]
        assert statuses([after]) == [200]
        assert len(server.requests) == 1 + 5 + 1


@pytest.mark.parametrize("seed", range(3))
async def test_sends_that_end_at_any_moment_leave_no_stream_behind(
    engine: EngineName, seed: int
) -> None:
    dice = random.Random(seed)

    def behaviour(request: Request) -> None:
        asyncio.get_running_loop().call_later(dice.random() * 0.02, request.answer_if_open)

    async with (
        hostile_server(behaviour, max_streams=30) as server,
        pool_for(server, engine, max_connections=2) as pool,
        asyncio.timeout(30),
    ):
        sends = [asyncio.create_task(_collect(pool, _targets(20))) for _ in range(60)]
        await asyncio.gather(*(_cancel_after(send, dice.random() * 0.2) for send in sends))
        server.behaviour = Request.answer
        after = await _collect(pool, _targets(200))

        assert dict(after) == dict.fromkeys(_targets(200), SENT)
        assert sum(connection.open_streams for connection in pool._connections) == 0
        assert server.most_open <= 30


async def test_cancelled_send_frees_its_streams(engine: EngineName) -> None:
    held: list[Request] = []
    async with (
        hostile_server(held.append, max_streams=5) as server,
        pool_for(server, engine) as pool,
    ):
        sending = asyncio.create_task(_collect(pool, _targets(20)))
        await server.seen(lambda: len(held) == 5)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        server.behaviour = Request.answer
        after = await post(pool, "after")

        assert sending.cancelled()
        assert statuses([after]) == [200]
        assert len(server.requests) == 5 + 1


async def test_cancelled_wait_for_a_group_loses_nothing(engine: EngineName) -> None:
    held: list[Request] = []
    async with hostile_server(held.append) as server, pool_for(server, engine) as pool:
        with Flight(pool, _targets(3), _submit_to(pool), _read) as flight:
            waiting = asyncio.create_task(flight.group())
            await server.seen(lambda: len(held) == 3)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            answer_all(held)
            group = await flight.group()

    assert dict(group) == dict.fromkeys(_targets(3), SENT)


async def test_request_that_cannot_be_built_costs_no_other(
    engine: EngineName, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [Target(1, "fine"), Target(2, "secret\ud800"), Target(3, "good")]

    async with hostile_server() as server, pool_for(server, engine) as pool:
        answered = await _collect(pool, targets)

    assert dict(answered) == dict(zip(targets, [SENT, DEFECT, SENT], strict=True))
    assert "secret" not in "".join(capsys.readouterr())


async def test_result_that_cannot_be_read_costs_no_other(engine: EngineName) -> None:
    def read(result: Result) -> Outcome:
        assert isinstance(result, Answer)
        return {b"fine": SENT}[result.body]

    def behaviour(request: Request) -> None:
        request.answer(200, {"/1": b"odd"}.get(request.path, b"fine"))

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        answered = await _collect(pool, _targets(3), read=read)

        assert dict(answered) == dict(zip(_targets(3), [SENT, DEFECT, SENT], strict=True))
        assert len(server.peers) == 1


async def test_closed_pool_is_an_outcome_of_each(engine: EngineName) -> None:
    async with hostile_server() as server, pool_for(server, engine) as pool:
        await pool.close()
        answered = await _collect(pool, _targets(3), read=_shown)

    assert [outcome.reason for _, outcome in answered] == ["NotProcessed"] * 3


def _read(result: Result) -> Outcome:
    assert isinstance(result, Answer)
    return SENT


def _shown(result: Result) -> Outcome:
    return Outcome(Verdict.RETRY, reason=type(result).__name__)


def _submit_to(pool: Http2Pool) -> Callable[[Target, OnResult], Exchange]:
    def submit(target: Target, on_result: OnResult) -> Exchange:
        return pool.submit(b"/" + target.token.encode(), [(b"kind", b"test")], BODY, on_result)

    return submit


async def _send(
    pool: Http2Pool,
    targets: Sequence[Target],
    *,
    read: Callable[[Result], Outcome] = _read,
    interval: timedelta = timedelta(milliseconds=50),
) -> AsyncGenerator[Sequence[Answered], None]:
    with Flight(pool, targets, _submit_to(pool), read, interval=interval) as flight:
        while group := await flight.group():
            yield group


async def _collect(
    pool: Http2Pool, targets: Sequence[Target], *, read: Callable[[Result], Outcome] = _read
) -> list[Answered]:
    return answered_of([group async for group in _send(pool, targets, read=read)])


async def _cancel_after(send: "asyncio.Task[list[Answered]]", seconds: float) -> None:
    asyncio.get_running_loop().call_later(seconds, send.cancel)
    await asyncio.gather(send, return_exceptions=True)


def _targets(count: int, *, start: int = 0) -> list[Target]:
    return [Target(number, str(number)) for number in range(start, start + count)]


def _number(answered: Answered) -> int:
    return answered[0].token_id
