"""Resets, GOAWAY, lost connections and failed set-ups: what is safe to repeat and what is not."""

import asyncio
import ssl

import ngh2
import pytest

from fanfare.providers.exchange import NotProcessed, Unknown
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import Request, hostile_server, ok
from tests.providers.transport import (
    LONG,
    SHORT,
    not_processed,
    pool_for,
    post,
    post_all,
    statuses,
    unknown,
)


async def test_refused_stream_is_safe_to_send_again(engine: EngineName) -> None:
    async with (
        hostile_server(lambda request: request.reset(ngh2.ErrorCode.REFUSED_STREAM)) as server,
        pool_for(server, engine) as pool,
    ):
        result = await post(pool)

    assert result == NotProcessed("refused_stream")


@pytest.mark.parametrize("code", [ngh2.ErrorCode.INTERNAL_ERROR, ngh2.ErrorCode.CANCEL])
async def test_other_resets_leave_the_outcome_unknown(engine: EngineName, code: int) -> None:
    async with (
        hostile_server(lambda request: request.reset(code)) as server,
        pool_for(server, engine) as pool,
    ):
        result = await post(pool)

    assert result == Unknown("stream_reset")


async def test_reset_of_one_stream_leaves_the_others_alone(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        {"/1": lambda r: r.reset(2)}.get(request.path, ok)(request)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        results = await post_all(pool, 3)

        assert results[1] == Unknown("stream_reset")
        assert statuses(results) == [200, 200]
        assert len(server.peers) == 1


async def test_reset_after_the_headers_leaves_the_outcome_unknown(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.begin(200, {})
        request.reset(ngh2.ErrorCode.REFUSED_STREAM)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        result = await post(pool)

    assert result == Unknown("stream_reset")


async def test_answer_before_the_whole_body_counts_and_frees_the_slot(engine: EngineName) -> None:
    async with (
        hostile_server(max_streams=1, gives_credit=False, window=2_000) as server,
        pool_for(server, engine) as pool,
    ):
        sending = asyncio.create_task(post(pool, "big", b"x" * 3_500))
        await server.seen(lambda: bool(server.peers and server.peers[0].bytes_received == 2_000))
        Request(server.peers[0], 1, ()).answer(413)
        results = [await sending, await post(pool, "small")]

    assert statuses(results) == [413, 200]


async def test_graceful_goaway_loses_nothing_and_repeats_nothing(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.answer()
        if request.stream_id == 199 and len(request.peer.server.peers) == 1:
            request.peer.go_away(request.stream_id)

    async with (
        hostile_server(behaviour, max_streams=50) as server,
        pool_for(server, engine) as pool,
    ):
        results = await post_all(pool, 500)
        again = await post_all(pool, 100)

        assert unknown(results + again) == []
        assert len(statuses(results)) + len(not_processed(results)) == 500
        assert statuses(again) + not_processed(again) == [200] * 100
        assert len(server.requests) == len(statuses(results + again))


async def test_streams_up_to_the_last_id_are_still_answered_after_goaway(
    engine: EngineName,
) -> None:
    held: list[Request] = []
    async with hostile_server(held.append) as server, pool_for(server, engine) as pool:
        sending = [asyncio.create_task(post(pool, str(number))) for number in range(4)]
        await server.seen(lambda: len(held) == 4)
        server.peers[0].go_away(3)
        await asyncio.wait(sending[2:])
        server.behaviour = ok
        late = await post(pool, "late")
        held[0].answer()
        held[1].answer()
        results = await asyncio.gather(*sending)

        assert statuses(results) == [200, 200]
        assert not_processed(results) == ["going_away"] * 2
        assert statuses([late]) == [200]
        assert len(server.peers) == 2


async def test_new_connection_serves_while_the_old_one_drains(engine: EngineName) -> None:
    held: list[Request] = []
    async with hostile_server(held.append) as server, pool_for(server, engine) as pool:
        old = asyncio.create_task(post(pool, "old"))
        await server.seen(lambda: len(held) == 1)
        server.peers[0].go_away(1)
        refused = await post(pool, "refused")
        server.behaviour = ok
        new = await post(pool, "new")
        old_was_waiting = not old.done()
        held[0].answer()
        results = [await old, new]
        await server.seen(lambda: server.peers[0].is_closed)

        assert refused == NotProcessed("going_away")
        assert old_was_waiting
        assert statuses(results) == [200, 200]


async def test_lost_connection_leaves_what_was_open_unknown_and_is_replaced(
    engine: EngineName,
) -> None:
    held: list[Request] = []
    async with hostile_server() as server, pool_for(server, engine) as pool:
        await post(pool, "warm-up")
        server.behaviour = held.append
        sending = asyncio.create_task(post_all(pool, 5))
        await server.seen(lambda: len(held) == 5)
        server.peers[0].hang_up()
        results = await sending
        server.behaviour = ok
        after = await post(pool)

    assert unknown(results) == ["connection_lost"] * 5
    assert statuses([after]) == [200]


async def test_goaway_and_hang_up_tell_processed_from_unprocessed(engine: EngineName) -> None:
    held: list[Request] = []
    async with hostile_server(held.append) as server, pool_for(server, engine) as pool:
        sending = asyncio.create_task(post_all(pool, 4))
        await server.seen(lambda: len(held) == 4)
        server.peers[0].go_away(3)
        server.peers[0].transport.close()
        results = await sending

    assert unknown(results[:2]) == ["connection_lost"] * 2
    assert not_processed(results[2:]) == ["going_away"] * 2


async def test_bytes_that_are_no_protocol_end_the_connection(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.peer.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        result = await post(pool)
        await server.seen(lambda: server.peers[0].is_closed)

    assert result == Unknown("connection_lost")


async def test_headers_without_end_do_not_cost_memory(engine: EngineName) -> None:
    def behaviour(request: Request) -> None:
        request.begin(200, {f"x-{number}": "y" * 1_000 for number in range(40)}, end=True)

    async with hostile_server(behaviour) as server, pool_for(server, engine) as pool:
        result = await asyncio.wait_for(post(pool), 5)

    assert result == Unknown("connection_lost")


async def test_silence_on_an_idle_connection_is_found_by_ping(engine: EngineName) -> None:
    async with (
        hostile_server() as server,
        pool_for(server, engine, deadline=SHORT, idle_ping=SHORT / 5) as pool,
    ):
        await post(pool)
        server.peers[0].transport.pause_reading()
        lost = await post(pool)
        after = await post(pool)

        assert isinstance(lost, Unknown)
        assert statuses([after]) == [200]
        assert len(server.peers) == 2


async def test_server_with_another_authority_is_not_talked_to(engine: EngineName) -> None:
    async with hostile_server() as server:
        pool = Http2Pool(server.url, ssl_context=_h2_context(), engine=engine)
        results = await post_all(pool, 3)
        await pool.close()

        assert not_processed(results) == ["tls"] * 3
        assert server.requests == []


async def test_server_without_http2_is_not_talked_to(engine: EngineName) -> None:
    async with hostile_server(alpn="http/1.1") as server, pool_for(server, engine) as pool:
        result = await post(pool)

    assert result == NotProcessed("no_h2")


async def test_refused_connection_is_safe_and_not_tried_at_once_again(engine: EngineName) -> None:
    async with hostile_server() as server:
        pass
    async with pool_for(server, engine) as pool:
        first = await post(pool)
        results = await post_all(pool, 100)

    assert first == NotProcessed("refused")
    assert not_processed(results) == ["refused"] * 100


async def test_unknown_host_is_safe(engine: EngineName) -> None:
    pool = Http2Pool("https://nowhere.invalid", ssl_context=_h2_context(), engine=engine)

    result = await post(pool)
    await pool.close()

    assert result == NotProcessed("dns")


async def test_peer_that_never_sends_settings_gets_no_request(engine: EngineName) -> None:
    peers: list[asyncio.StreamWriter] = []

    async with hostile_server() as server:
        listener = await asyncio.start_server(
            lambda _, writer: peers.append(writer), "127.0.0.1", 0, ssl=server.own_ssl_context
        )
        server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with pool_for(server, engine, deadline=SHORT) as pool:
            result = await post(pool)
        listener.close()

    assert isinstance(result, NotProcessed)
    assert result.reason in {"connect_timeout", "no_stream"}


async def test_renewal_moves_new_requests_to_a_new_connection_once(engine: EngineName) -> None:
    async with hostile_server() as server, pool_for(server, engine) as pool:
        await post(pool)
        pool.renew()
        pool.renew()
        await post(pool)
        pool.renew()
        await post(pool)

        assert len(server.peers) == 2


def test_address_must_be_https() -> None:
    with pytest.raises(ValueError, match="https://host"):
        Http2Pool("http://127.0.0.1", ssl_context=_h2_context(), deadline=LONG)


def _h2_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    return context
