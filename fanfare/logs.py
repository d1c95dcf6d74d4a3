"""Structured logs: one JSON object a line, a constant event name, and never a secret.

A device token is a secret, and APNs carries it in the request's path: so the libraries that log
requests are kept quiet here, and fields that could hold one are dropped by name.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress

import structlog

SECRET_FIELDS = frozenset(
    {
        "authorization",
        "body",
        "data",
        "device_token",
        "fid",
        "payload",
        "private_key",
        "secret",
        "title",
        "token",
    }
)
_LOUD = ("httpx", "httpcore", "h2", "hpack", "urllib3", "google.auth")


def configure(level: str) -> None:
    """Log to standard output at `level` ("debug", "info", "warning", "error") and above."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, stream=sys.stdout, format="%(message)s")
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Says every second for as long as PostgreSQL is away, with its host, what we say in our words.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            drop_secrets,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=StandardOutput,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )


class StandardOutput:
    """Writes lines. One that cannot be written is lost: neither a full disk nor a collector that
    died may end a send, whose outcomes would then be in doubt."""

    def __init__(self, *_: object) -> None:
        """Takes what structlog gives: a name, which nobody reads."""

    def msg(self, line: str) -> None:
        """Write one line at once, as far as that is possible."""
        with suppress(OSError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    debug = info = warning = error = critical = fatal = exception = msg


def drop_secrets(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Remove what must not be written, whoever put it there."""
    for name in SECRET_FIELDS & event.keys():
        del event[name]
    return event
