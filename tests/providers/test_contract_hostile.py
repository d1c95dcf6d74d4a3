"""The contract where the connection misbehaves: both adapters over both engines.

Each hazard ends as one outcome per message that says what is safe to do, never as an exception, a
hang, or the loss of another message.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import ngh2
import pytest
import trustme

from fanfare.models import ErrorCode, ProviderName, Verdict
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import (
    Behaviour,
    HostileServer,
    Request,
)
from tests.providers.hostile_provider import (
    accept,
    hand_out_access_tokens,
)
from tests.providers.hostile_scene import Scene, open_scene, verdicts


async def test_latency_of_most_of_the_deadline_repeats_nothing(
    name: ProviderName, engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline, latency = timedelta(seconds=3), 2.0

    def late(request: Request) -> None:
        asyncio.get_running_loop().call_later(latency, accept, request)

    hand_out_access_tokens(monkeypatch)
    async with open_scene(name, engine, deadline) as scene:
        scene.behave(late)
        outcomes = await scene.send(50)

    assert verdicts(outcomes) == {Verdict.SENT}
    assert len(scene.server.requests) == 50


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (ngh2.ErrorCode.REFUSED_STREAM, Verdict.RETRY),
        (ngh2.ErrorCode.CANCEL, Verdict.UNKNOWN),
        (ngh2.ErrorCode.INTERNAL_ERROR, Verdict.UNKNOWN),
        (ngh2.ErrorCode.ENHANCE_YOUR_CALM, Verdict.UNKNOWN),
    ],
)
async def test_reset_is_safe_to_repeat_only_where_it_says_so(
    scene: Scene, code: int, verdict: Verdict
) -> None:
    scene.behave(lambda request: request.reset(code))

    [outcome] = await scene.send()

    assert outcome.verdict is verdict


def _goaway_after_answer(request: Request) -> None:
    accept(request)
    request.peer.go_away(request.stream_id)


def _goaway_of_all(request: Request) -> None:
    request.peer.go_away(0)


def _goaway_and_hang_up(request: Request) -> None:
    request.peer.go_away(request.stream_id)
    request.peer.transport.close()


def _announced_goaway(request: Request) -> None:
    # RFC 9113, 6.8: the highest id first, the true one when the last streams have come.
    request.peer.go_away(2**31 - 1)
    accept(request)
    request.peer.go_away(request.stream_id)


def _goaway_with_an_error(request: Request) -> None:
    request.peer.http.send_goaway(11, last_stream_id=0, debug_data=b"too_many_pings")
    request.peer.flush()


def _hang_up(request: Request) -> None:
    request.peer.hang_up()


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (_goaway_after_answer, Verdict.SENT),
        (_announced_goaway, Verdict.SENT),
        (_goaway_of_all, Verdict.RETRY),
        (_goaway_with_an_error, Verdict.RETRY),
        (_goaway_and_hang_up, Verdict.UNKNOWN),
        (_hang_up, Verdict.UNKNOWN),
    ],
)
async def test_goaway_in_each_form_tells_what_is_safe_and_another_connection_serves(
    scene: Scene, behaviour: Behaviour, verdict: Verdict
) -> None:
    await scene.send()
    scene.behave(behaviour)
    [outcome] = await scene.send()
    scene.behave(accept)
    after = await scene.send(10)

    assert outcome.verdict is verdict
    assert verdicts(after) == {Verdict.SENT}
    assert len(scene.server.peers) == 2


async def test_streams_before_a_goaway_are_answered_and_those_after_it_are_safe(
    scene: Scene,
) -> None:
    held: list[Request] = []
    scene.behave(held.append)
    sending = asyncio.create_task(scene.send(4))
    await scene.server.seen(lambda: len(held) == 4)

    scene.server.peers[0].go_away(held[1].stream_id)
    held[0].peer.flush()
    _accept_all(held[:2])
    outcomes = await sending

    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.SENT,
        Verdict.SENT,
        Verdict.RETRY,
        Verdict.RETRY,
    ]


async def test_limits_that_change_in_mid_flight_lose_nothing(scene: Scene) -> None:
    limits = {5: 1, 40: 1_000, 100: 3, 150: 1_000}

    def moody(request: Request) -> None:
        request.peer.limit_streams(limits.get(len(scene.server.requests)))
        accept(request)

    scene.behave(moody)
    outcomes = await scene.send(400)

    # What was under way when a limit fell may be refused (RFC 9113, 5.1.2).
    accepted = [outcome for outcome in outcomes if outcome.verdict is Verdict.SENT]
    assert verdicts(outcomes) <= {Verdict.SENT, Verdict.RETRY}
    assert len(scene.server.requests) == len(accepted)


@pytest.mark.parametrize(
    "settings",
    [
        {ngh2.Setting.HEADER_TABLE_SIZE: 0},
        {ngh2.Setting.HEADER_TABLE_SIZE: 65_536},
        {ngh2.Setting.MAX_FRAME_SIZE: 2**24 - 1},
        {ngh2.Setting.INITIAL_WINDOW_SIZE: 2**31 - 1},
        {ngh2.Setting.INITIAL_WINDOW_SIZE: 1},
        {ngh2.Setting.MAX_HEADER_LIST_SIZE: 100},
    ],
)
async def test_settings_that_change_in_mid_flight_cost_no_message(
    scene: Scene, settings: dict[int, int]
) -> None:
    await scene.send(20)
    scene.server.peers[0].http.update_settings(settings)
    scene.server.peers[0].flush()

    outcomes = await scene.send(100)

    assert verdicts(outcomes) == {Verdict.SENT}
    assert len(scene.server.peers) == 1


async def test_peer_that_allows_no_stream_at_all_is_waited_for_and_then_safe(hasty: Scene) -> None:
    hasty.server.peers[0].limit_streams(0)
    outcomes = await hasty.send(3)
    hasty.server.peers[0].limit_streams(100)
    after = await hasty.send(3)

    assert {(o.verdict, o.error_code) for o in outcomes} <= {
        (Verdict.RETRY, ErrorCode.NETWORK),
        (Verdict.SENT, None),
    }
    assert verdicts(after) == {Verdict.SENT}


async def test_window_that_shrinks_to_nothing_ends_by_the_deadline(hasty: Scene) -> None:
    hasty.server.peers[0].http.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 0})
    hasty.server.peers[0].flush()
    await hasty.send()

    outcomes = await hasty.send(3)

    assert Verdict.SENT not in verdicts(outcomes)
    assert len(hasty.server.requests) == 1


def _silent(request: Request) -> None:
    """Never answer."""


def _headers_only(request: Request) -> None:
    request.begin(200, {})


def _half_a_body(request: Request) -> None:
    request.begin(503, {})
    request.send(b'{"reas')


@pytest.mark.parametrize("stall", [_silent, _headers_only, _half_a_body])
async def test_stall_ends_by_the_deadline_as_unknown_and_others_go_on(
    hasty: Scene, stall: Behaviour
) -> None:
    def behaviour(request: Request) -> None:
        (stall if len(hasty.server.requests) == 2 else accept)(request)

    hasty.behave(behaviour)
    outcomes = await hasty.send(5)

    assert sorted(outcome.verdict for outcome in outcomes) == [Verdict.SENT] * 4 + [Verdict.UNKNOWN]
    assert len(hasty.server.requests) == 5


def _stranger(server: HostileServer) -> None:
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server.own_ssl_context)


def _other_host(server: HostileServer) -> None:
    server.authority.issue_cert("push.example").configure_cert(server.own_ssl_context)


def _of_yesteryear(server: HostileServer) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    certificate = server.authority.issue_cert("127.0.0.1", not_after=past)
    certificate.configure_cert(server.own_ssl_context)


def _http_1(server: HostileServer) -> None:
    server.own_ssl_context.set_alpn_protocols(["http/1.1"])


@pytest.mark.parametrize(
    ("disguise", "reason"),
    [(_stranger, "tls"), (_other_host, "tls"), (_of_yesteryear, "tls"), (_http_1, "no_h2")],
)
async def test_peer_that_is_not_the_provider_gets_no_message(
    scene: Scene, disguise: Callable[[HostileServer], None], reason: str
) -> None:
    disguise(scene.server)

    outcomes = await scene.send(3)

    assert {(o.verdict, o.error_code, o.reason) for o in outcomes} == {
        (Verdict.RETRY, ErrorCode.NETWORK, reason)
    }
    assert scene.server.requests == []


def _accept_all(requests: list[Request]) -> None:
    for request in requests:
        accept(request)
