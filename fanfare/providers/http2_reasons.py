"""Why a connection did not come about, or a request was not processed on one, as one word."""

import socket
import ssl
from collections.abc import Sequence

# The request came behind the last one that a GOAWAY took. Providers end connections so in the
# ordinary course of things.
GOING_AWAY = "going_away"
# More streams were open than the peer allows by now (RFC 9113, 5.1.2).
REFUSED_STREAM = "refused_stream"


def reason_of(error: Exception) -> str:
    """Return the word for an attempt's error; it names no address."""
    for kind, reason in _CONNECT_REASONS:
        if isinstance(error, kind):
            return reason
    return "unreachable"


_CONNECT_REASONS: Sequence[tuple[type[Exception], str]] = (
    (socket.gaierror, "dns"),
    (UnicodeError, "dns"),
    (ssl.SSLError, "tls"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "connection_lost"),
    (TimeoutError, "connect_timeout"),
)
