"""The TLS port: who connects, and which HTTP they speak."""

import asyncio
import ssl
from typing import cast

from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.http1 import Http1Connection
from fanfare.dev.simulator.http2 import Http2Connection, Surroundings

HTTP2_PREFACE = b"PRI "


def tls(account: Account) -> ssl.SSLContext:
    """TLS 1.2 or newer with the account's certificate, offering h2 and http/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(account.certificate_file, account.certificate_key_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def listen(
    surroundings: Surroundings, context: ssl.SSLContext, *, host: str, port: int
) -> asyncio.Server:
    """Serve on a port, 0 for any free one."""
    return await asyncio.get_running_loop().create_server(
        lambda: Reception(surroundings), host, port, ssl=context, backlog=1024
    )


class Reception(asyncio.Protocol):
    """Hands a new connection to the protocol that ALPN names, else to what its first bytes say.

    Some HTTP/2 clients, aioapns among them, offer no ALPN by default.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._transport: asyncio.Transport | None = None
        self._first_bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are asyncio's by behaviour, not by descent.
        self._transport = cast("asyncio.Transport", transport)
        self._surroundings.connections.add(self._transport)
        match self._transport.get_extra_info("ssl_object").selected_alpn_protocol():
            case "h2":
                self._hand_over(Http2Connection(self._surroundings))
            case "http/1.1":
                self._hand_over(Http1Connection(self._surroundings))
            case _:
                pass  # The first bytes will tell.

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._transport is not None:
            self._surroundings.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._first_bytes += data
        if len(self._first_bytes) < len(HTTP2_PREFACE):
            return
        if self._first_bytes.startswith(HTTP2_PREFACE):
            self._hand_over(Http2Connection(self._surroundings))
        else:
            self._hand_over(Http1Connection(self._surroundings))

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        assert self._transport is not None
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._first_bytes:
            protocol.data_received(self._first_bytes)
