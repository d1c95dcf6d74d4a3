"""Answers, flow control and limits: what the transport makes of a peer that keeps the rules."""

import asyncio
import logging

import pytest

from fanfare.providers.exchange import MAX_ANSWER_BYTES, Answer, NotProcessed, Unknown
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import Request, answer_all, hostile_server
from tests.providers.transport import (
    SHORT,
    not_processed,
    pool_for,
    post,
    post_all,
    statuses,
    unknown,
)


def silent(request: Request) -> None:
    """Never answer."""


async def test_answer_carries_status_headers_and_body(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.answer(410, b'{"reason":"Unregistered"}', {"apns-id": "x"})

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        result = await post(pool)

    assert isinstance(result, Answer)
    assert (result.status, result.body) == (410, b'{"reason":"Unregistered"}')
    assert (b"apns-id", b"x") in result.headers


async def test_request_reaches_the_peer_as_it_was_given(engine: EngineName) -> None:
    async with hostile_server() as server, pool_for(server, engine) as pool:
        await pool.request(b"/p", [(b"a", b"1")], b"body", own_headers=[(b"b", b"2")])

        request = server.requests[0]
        assert (request.header(":method"), request.path, request.body) == ("POST", "/p", b"body")
        assert (request.header("a"), request.header("b")) == ("1", "2")
        assert request.header(":authority") == server.url.removeprefix("https://")


async def test_many_requests_share_one_connection_and_each_gets_its_own_answer(
    engine: EngineName,
) -> None:
    def behaviour(request: Request) -> None:
        request.answer(200, request.path.encode())

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        results = await post_all(pool, 300)

        assert [r.body for r in results if isinstance(r, Answer)] == [
            f"/{i}".encode() for i in range(300)
        ]
        assert len(server.peers) == 1


async def test_five_thousand_error_replies_do_not_wedge_one_connection(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.answer(400, b'{"reason":"BadDeviceToken"}')

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        results = await post_all(pool, 5_000)

        assert statuses(results) == [400] * 5_000
        assert len(server.peers) == 1


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\x00\xff"])
async def test_any_body_is_an_answer(engine: EngineName, body: bytes) -> None:
    async with (
        hostile_server(lambda request: request.answer(503, body)) as server,
        pool_for(server, engine) as pool,
    ):
        result = await post(pool)

    assert result == Answer(503, result.headers if isinstance(result, Answer) else (), body)


async def test_body_in_pieces_is_put_together(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.begin(400, {})
        request.send(b'{"reason":')
        request.send(b'"BadTopic"}')
        request.send(b"", end=True)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        result = await post(pool)

    assert isinstance(result, Answer)
    assert result.body == b'{"reason":"BadTopic"}'


async def test_huge_bodies_are_cut_and_the_connection_goes_on(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.answer(500, b"x" * 1_000_000)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        results = await post_all(pool, 3)

        assert [len(r.body) for r in results if isinstance(r, Answer)] == [MAX_ANSWER_BYTES] * 3
        assert len(server.peers) == 1


async def test_large_bodies_wait_for_the_send_window(engine: EngineName) -> None:
    async with (
        hostile_server(max_streams=200, window=2_000) as server,
        pool_for(server, engine) as pool,
    ):
        results = await post_all(pool, 200, b"x" * 3_500)

        assert statuses(results) == [200] * 200
        assert {len(request.body) for request in server.requests} == {3_500}


async def test_peer_without_credit_gets_no_more_than_its_window(engine: EngineName) -> None:
    async with (
        hostile_server(silent, max_streams=200, gives_credit=False) as server,
        pool_for(server, engine, deadline=SHORT) as pool,
    ):
        results = await post_all(pool, 30, b"x" * 3_500)

        sent = 65_535 // 3_500
        assert (len(unknown(results)), len(not_processed(results))) == (sent, 30 - sent)
        assert server.peers[0].bytes_received == sent * 3_500


async def test_never_more_streams_than_the_peer_allows(engine: EngineName) -> None:
    async with hostile_server(max_streams=7) as server, pool_for(server, engine) as pool:
        results = await post_all(pool, 200)

        assert statuses(results) == [200] * 200
        assert server.most_open <= 7


async def test_limit_of_streams_is_heeded_as_it_falls_and_rises(engine: EngineName) -> None:
    limits = {1: 1_000, 300: 1, 400: 1_000}

    def behaviour(request: Request) -> None:
        number = len(request.peer.server.requests)
        request.peer.limit_streams(limits.get(number))
        request.answer()

    async with hostile_server(behaviour, max_streams=1) as server, pool_for(server, engine) as pool:
        first = await post_all(pool, 250)
        second = await post_all(pool, 500)

        assert statuses(first + second) == [200] * 750
        assert len(server.peers) == 1


async def test_limit_of_one_stream_is_kept_and_opens_no_further_connection(
    engine: EngineName,
) -> None:
    async with (
        hostile_server(max_streams=1) as server,
        pool_for(server, engine, max_connections=4) as pool,
    ):
        results = await post_all(pool, 50)

        assert statuses(results) == [200] * 50
        assert (server.most_open, len(server.peers)) == (1, 1)


async def test_further_connections_open_only_when_the_others_are_full(engine: EngineName) -> None:
    held: list[Request] = []

    async with (
        hostile_server(held.append, max_streams=10) as server,
        pool_for(server, engine, max_connections=3) as pool,
    ):
        sending = asyncio.create_task(post_all(pool, 35))
        await server.seen(lambda: len(server.requests) == 30)
        counts = sorted(len(peer.open) for peer in server.peers)
        server.behaviour = Request.answer
        answer_all(held)
        results = await sending

    assert counts == [10, 10, 10]
    assert statuses(results) == [200] * 35


async def test_deadline_ends_one_request_and_leaves_the_others(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        {"/1": silent}.get(request.path, Request.answer)(request)

    async with (
        hostile_server(behaviour) as server,
        pool_for(server, engine, deadline=SHORT) as pool,
    ):
        results = await post_all(pool, 3)
        await server.seen(lambda: server.resets != [])
        after = await post(pool, "9")

        assert results[1] == Unknown("deadline")
        assert statuses([*results, after]) == [200] * 3
        assert len(server.peers) == 1


async def test_silent_connection_is_left_after_its_first_deadline(engine: EngineName) -> None:
    async with (
        hostile_server(silent) as server,
        pool_for(server, engine, deadline=SHORT) as pool,
    ):
        first = await post_all(pool, 3)
        server.behaviour = Request.answer
        await server.seen(lambda: server.peers[0].is_closed)

        assert unknown(first) == ["deadline"] * 3


async def test_waiting_for_a_stream_ends_with_the_deadline_and_is_safe(engine: EngineName) -> None:
    async with (
        hostile_server(silent, max_streams=1) as server,
        pool_for(server, engine, deadline=SHORT) as pool,
    ):
        results = await post_all(pool, 3)

        assert results[0] == Unknown("deadline")
        assert len(not_processed(results[1:]) + unknown(results[1:])) == 2
        assert len(server.requests) + len(not_processed(results)) == 3


async def test_cancelled_caller_resets_its_stream_and_frees_the_slot(engine: EngineName) -> None:
    async with (
        hostile_server(silent, max_streams=1) as server,
        pool_for(server, engine) as pool,
    ):
        caller = asyncio.create_task(post(pool, "slow"))
        await server.seen(lambda: len(server.requests) == 1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        server.behaviour = Request.answer
        result = await post(pool, "next")

        assert caller.cancelled()
        assert server.resets == [1]
        assert statuses([result]) == [200]


async def test_caller_cancelled_in_the_queue_is_never_sent(engine: EngineName) -> None:
    async with (
        hostile_server(silent, max_streams=1) as server,
        pool_for(server, engine) as pool,
    ):
        first = asyncio.create_task(post(pool, "first"))
        await server.seen(lambda: len(server.requests) == 1)
        second = asyncio.create_task(post(pool, "second"))
        third = asyncio.create_task(post(pool, "third"))
        await asyncio.wait([second], timeout=0)
        second.cancel()
        server.behaviour = Request.answer
        server.requests[0].answer()
        results = await asyncio.gather(first, third)

        assert statuses(results) == [200, 200]
        assert [request.path for request in server.requests] == ["/first", "/third"]


async def test_idle_connection_is_kept_alive_by_pings(engine: EngineName) -> None:
    async with (
        hostile_server() as server,
        pool_for(server, engine, deadline=SHORT, idle_ping=SHORT / 5) as pool,
    ):
        await post(pool)
        await server.seen(lambda: server.pings >= 2)
        result = await post(pool)

        assert statuses([result]) == [200]
        assert len(server.peers) == 1


async def test_close_waits_for_what_is_on_the_wire_and_refuses_the_rest(engine: EngineName) -> None:
    held: list[Request] = []
    async with hostile_server(held.append) as server, pool_for(server, engine) as pool:
        sending = asyncio.create_task(post(pool))
        await server.seen(lambda: len(held) == 1)
        closing = asyncio.create_task(pool.close())
        await asyncio.wait([closing], timeout=0)
        late = await post(pool)
        held[0].answer()
        result = await sending
        await closing

    assert late == NotProcessed("pool_closed")
    assert statuses([result]) == [200]


async def test_token_is_in_no_log_line_and_no_text(
    engine: EngineName, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        hostile_server(lambda request: request.answer(400, request.path.encode())) as server,
        pool_for(server, engine) as pool,
    ):
        result = await post(pool, "c0ffee")

    assert "c0ffee" not in caplog.text + repr(result) + repr(pool)
