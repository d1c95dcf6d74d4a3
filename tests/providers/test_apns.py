"""What goes to APNs with each message, and what its answers make the adapter do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID

import ngh2
import pytest
from structlog.testing import capture_logs

from fanfare import payload
from fanfare.models import Content, ErrorCode, Target, Verdict
from fanfare.providers import Notification
from fanfare.providers.apns import ApnsProvider
from fanfare.providers.credentials import InvalidCredential
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import Behaviour, HostileServer, Request, hostile_server, ok
from tests.providers.keys import apns_credential
from tests.providers.simulated import send_all, send_one

CAMPAIGN = UUID("01932c5e-8f7a-7cc3-98c4-dc0c0c07398f")
EXPIRES_AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOTIFICATION = Notification(CAMPAIGN, Content("Hello", "World", {"a": 1}), EXPIRES_AT)


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    """An APNs that accepts everything until it is told otherwise."""
    async with hostile_server() as server:
        yield server


@pytest.fixture
async def provider(server: HostileServer) -> AsyncIterator[ApnsProvider]:
    """The adapter, pointed at that server."""
    provider = _provider(server)
    yield provider
    await provider.close()


async def test_every_header_that_apple_asks_for_is_there(
    server: HostileServer, provider: ApnsProvider
) -> None:
    await send_one(provider, NOTIFICATION, Target(7, "00c0ffee"))

    headers = dict(server.requests[0].headers)
    authorization = headers.pop(b"authorization")
    assert authorization.startswith(b"bearer ey")
    assert headers == {
        b":method": b"POST",
        b":scheme": b"https",
        b":authority": server.url.removeprefix("https://").encode(),
        b":path": b"/3/device/00c0ffee",
        b"apns-topic": b"com.example.app",
        b"apns-push-type": b"alert",
        b"apns-priority": b"10",
        b"apns-expiration": b"%d" % EXPIRES_AT.timestamp(),
        b"apns-collapse-id": payload.collapse_id(CAMPAIGN).encode(),
        b"apns-id": payload.apns_id(CAMPAIGN, 7).encode(),
    }


async def test_body_is_the_rendered_payload(server: HostileServer, provider: ApnsProvider) -> None:
    await send_one(provider, NOTIFICATION, Target(7, "00c0ffee"))

    assert server.requests[0].body == payload.render_apns(NOTIFICATION.content)


async def test_every_attempt_carries_the_same_ids(
    server: HostileServer, provider: ApnsProvider
) -> None:
    await send_one(provider, NOTIFICATION, Target(7, "00c0ffee"))
    await send_one(provider, NOTIFICATION, Target(7, "00c0ffee"))

    ids = {request.header("apns-id") for request in server.requests}
    assert ids == {payload.apns_id(CAMPAIGN, 7)}


async def test_all_connections_of_a_key_carry_one_token(server: HostileServer) -> None:
    providers = [_provider(server), _provider(server)]
    target = Target(7, "00c0ffee")
    await asyncio.gather(*(send_one(p, NOTIFICATION, target) for p in providers))
    await asyncio.gather(*(p.close() for p in providers))

    assert len(server.peers) == 2
    assert len({request.header("authorization") for request in server.requests}) == 1


async def test_server_that_shuts_down_is_left_for_another(
    server: HostileServer, provider: ApnsProvider
) -> None:
    target = Target(1, "00c0ffee")
    server.behaviour = lambda request: request.answer(503, b'{"reason":"Shutdown"}')
    refused = await send_one(provider, NOTIFICATION, target)
    server.behaviour = Request.answer
    accepted = await send_one(provider, NOTIFICATION, target)

    assert (refused.verdict, accepted.verdict) == (Verdict.RETRY, Verdict.SENT)
    assert len(server.peers) == 2


async def test_a_token_that_is_just_signed_and_expired_means_that_our_clock_is_wrong(
    server: HostileServer, provider: ApnsProvider
) -> None:
    target = Target(1, "00c0ffee")
    server.behaviour = lambda request: request.answer(403, b'{"reason":"ExpiredProviderToken"}')

    outcomes = [await send_one(provider, NOTIFICATION, target) for _ in range(3)]

    believed = [Verdict.RETRY, Verdict.CREDENTIALS, Verdict.CREDENTIALS]
    assert [outcome.verdict for outcome in outcomes] == believed
    assert outcomes[-1].reason == "clock_skew"
    assert len({request.header("authorization") for request in server.requests}) == 2


@pytest.mark.parametrize("reason", ["ExpiredProviderToken", "InvalidProviderToken"])
@pytest.mark.parametrize(
    ("hours", "said"), [(timedelta(hours=-2), "clock_skew"), (timedelta(), None)]
)
async def test_date_of_the_answer_tells_a_wrong_clock_from_a_wrong_key(
    server: HostileServer, provider: ApnsProvider, reason: str, hours: timedelta, said: str | None
) -> None:
    date = {"date": format_datetime(datetime.now(UTC) + hours, usegmt=True)}
    body = b'{"reason":"%s"}' % reason.encode()
    server.behaviour = lambda request: request.answer(403, body, date)

    await send_one(provider, NOTIFICATION, Target(1, "00c0ffee"))
    outcome = await send_one(provider, NOTIFICATION, Target(1, "00c0ffee"))

    assert outcome.verdict is Verdict.CREDENTIALS
    assert outcome.reason == (said or reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "InvalidProviderToken"),
        (403, "UnrelatedKeyIdInToken"),
        (403, "SomethingNew"),
        (400, "TopicDisallowed"),
    ],
)
async def test_refused_credential_is_confirmed_over_a_new_connection(
    server: HostileServer, provider: ApnsProvider, status: int, reason: str
) -> None:
    body = b'{"reason":"%s"}' % reason.encode()
    await send_one(provider, NOTIFICATION, Target(1, "00c0ffee"))
    server.behaviour = lambda request: request.answer(status, body)

    outcomes = [await send_one(provider, NOTIFICATION, Target(1, "00c0ffee")) for _ in range(2)]

    assert [outcome.verdict for outcome in outcomes] == [Verdict.RETRY, Verdict.CREDENTIALS]
    assert {outcome.error_code for outcome in outcomes} == {ErrorCode.CREDENTIALS}
    assert server.requests[-1].peer is not server.requests[-2].peer


async def test_refusal_that_the_new_connection_does_not_confirm_is_forgotten(
    server: HostileServer, provider: ApnsProvider
) -> None:
    async def ask(behaviour: Behaviour) -> Verdict:
        server.behaviour = behaviour
        return (await send_one(provider, NOTIFICATION, Target(1, "00c0ffee"))).verdict

    verdicts = [await ask(behaviour) for behaviour in (_invalid, ok, _invalid, ok)]

    assert verdicts == [Verdict.RETRY, Verdict.SENT] * 2


async def test_refusal_right_after_a_change_of_connections_is_confirmed_over_another_one_still(
    server: HostileServer, provider: ApnsProvider
) -> None:
    target = Target(1, "00c0ffee")
    server.behaviour = lambda request: request.answer(503, b'{"reason":"Shutdown"}')
    await send_one(provider, NOTIFICATION, target)
    server.behaviour = _invalid

    outcomes = [await send_one(provider, NOTIFICATION, target) for _ in range(2)]

    assert [outcome.verdict for outcome in outcomes] == [Verdict.RETRY, Verdict.CREDENTIALS]
    assert [request.peer for request in server.requests] == server.peers
    assert len(server.peers) == 3


async def test_internal_errors_that_repeat_make_for_another_connection(
    server: HostileServer, provider: ApnsProvider
) -> None:
    server.behaviour = lambda request: request.answer(500, b'{"reason":"InternalServerError"}')
    targets = [Target(number, f"00{number:02x}") for number in range(3)]

    await send_all(provider.prepare(NOTIFICATION), targets[:2])
    await send_one(provider, NOTIFICATION, targets[2])
    await send_one(provider, NOTIFICATION, targets[2])

    assert [request.peer for request in server.requests[:3]] == [server.peers[0]] * 3
    assert server.requests[3].peer is server.peers[1]


async def test_connection_on_which_the_token_changed_too_often_is_left(
    server: HostileServer, provider: ApnsProvider
) -> None:
    body = b'{"reason":"TooManyProviderTokenUpdates"}'
    server.behaviour = lambda request: request.answer(429, body)
    target = Target(1, "00c0ffee")

    with capture_logs() as lines:
        refused = await send_one(provider, NOTIFICATION, target)
        server.behaviour = ok
        accepted = await send_one(provider, NOTIFICATION, target)

    assert (refused.retry_after, accepted.verdict) == (timedelta(minutes=20), Verdict.SENT)
    assert len(server.peers) == 2
    assert [line["event"] for line in lines] == ["apns_token_churn"]


async def test_hpack_keeps_what_is_the_same_for_all_and_nothing_else(
    server: HostileServer, engine: EngineName
) -> None:
    provider = _provider(server, engine)
    await send_one(provider, NOTIFICATION, Target(7, "00c0ffee"))
    await provider.close()

    headers = server.requests[0].headers
    literal = {name for name, _ in filter(_is_never_indexed, headers)}
    assert literal == {b":path", b"authorization", b"apns-id"}


async def test_token_that_is_no_hex_stays_within_its_path(
    server: HostileServer, provider: ApnsProvider
) -> None:
    await send_one(provider, NOTIFICATION, Target(1, "a/../b c\r\nx: y"))

    assert server.requests[0].path == "/3/device/a%2F..%2Fb%20c%0D%0Ax%3A%20y"


async def test_credential_without_a_key_is_refused_at_once(server: HostileServer) -> None:
    credential = replace(apns_credential(), key_p8="nonsense")

    with pytest.raises(InvalidCredential):
        ApnsProvider(credential, url=server.url, ssl_context=server.ssl_context)


def _provider(server: HostileServer, engine: EngineName = "ngh2") -> ApnsProvider:
    return ApnsProvider(
        apns_credential(), url=server.url, ssl_context=server.ssl_context, engine=engine
    )


def _invalid(request: Request) -> None:
    request.answer(403, b'{"reason":"InvalidProviderToken"}')


def _is_never_indexed(header: object) -> bool:
    return isinstance(header, ngh2.NeverIndexedHeader)
