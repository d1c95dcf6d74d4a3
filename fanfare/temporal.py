"""The connection to a Temporal service: the operator's own, Temporal Cloud, or the embedded one.

Configured as every Temporal client is: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY,
TEMPORAL_TLS_*, or a profile in a TOML file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

from fanfare.errors import Misconfigured, TemporalUnavailable

# How long a caller of the HTTP API waits for Temporal before it is told to come back.
CALL_TIMEOUT = timedelta(seconds=5)

_NO_ANSWER = "Temporal does not answer. Try again shortly."

_AWAY = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.CANCELLED,
    }
)


async def connect(*, lazy: bool = False) -> Client:
    """A client that speaks our models. `lazy`: it connects at its first call, not now.

    Raises RuntimeError where nothing answers and it is not lazy, Misconfigured where the settings
    cannot be meant.
    """
    config = _settings()
    try:
        return await Client.connect(**config, data_converter=pydantic_data_converter, lazy=lazy)
    except ValueError as error:
        raise Misconfigured(f"TEMPORAL_ADDRESS cannot be read: {error}.") from error


def _settings() -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (OSError, RuntimeError, ValueError) as error:
        raise Misconfigured(f"Temporal's settings cannot be read: {_line(error)}.") from error
    config.setdefault("target_host", "127.0.0.1:7233")
    return config


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@asynccontextmanager
async def answering(within: timedelta | None = None) -> AsyncIterator[None]:
    """Turn whatever Temporal answers but success into TemporalUnavailable.

    `within` bounds the whole: the time-out of a call is that of each of its attempts, and the
    client makes them for ten seconds and more.

    A namespace that is missing and a permission that is lacking are an operator's to mend, and
    for a caller the same as a service that is away.
    """
    seconds = None if within is None else within.total_seconds()
    try:
        async with asyncio.timeout(seconds) as bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise TemporalUnavailable(_NO_ANSWER) from error
    except RPCError as error:
        says = f"Temporal says {error.status.name}." if error.status not in _AWAY else _NO_ANSWER
        raise TemporalUnavailable(says) from error
    except RuntimeError as error:
        # What a lazy client raises when its first connection fails.
        if "connect" not in str(error).lower():
            raise
        raise TemporalUnavailable(_NO_ANSWER) from error
