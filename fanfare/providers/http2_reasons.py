"""Why a connection did not come about, as one word."""

import socket
import ssl
from collections.abc import Sequence


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
