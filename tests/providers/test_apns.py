"""What goes to APNs with each message, and what its answers make the adapter do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from fanfare import payload
from fanfare.models import Content, Target, Verdict
from fanfare.providers import Notification
from fanfare.providers.apns import ApnsProvider
from fanfare.providers.credentials import InvalidCredential
from tests.providers.hostile import HostileServer, Request, hostile_server
from tests.providers.keys import apns_credential
from tests.providers.simulated import send_one

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

    outcomes = [await send_one(provider, NOTIFICATION, target) for _ in range(2)]

    assert {outcome.verdict for outcome in outcomes} == {Verdict.CREDENTIALS}
    assert len({request.header("authorization") for request in server.requests}) == 1


async def test_token_that_is_no_hex_stays_within_its_path(
    server: HostileServer, provider: ApnsProvider
) -> None:
    await send_one(provider, NOTIFICATION, Target(1, "a/../b c\r\nx: y"))

    assert server.requests[0].path == "/3/device/a%2F..%2Fb%20c%0D%0Ax%3A%20y"


async def test_credential_without_a_key_is_refused_at_once(server: HostileServer) -> None:
    credential = replace(apns_credential(), key_p8="nonsense")

    with pytest.raises(InvalidCredential):
        ApnsProvider(credential, url=server.url, ssl_context=server.ssl_context)


def _provider(server: HostileServer) -> ApnsProvider:
    return ApnsProvider(apns_credential(), url=server.url, ssl_context=server.ssl_context)
