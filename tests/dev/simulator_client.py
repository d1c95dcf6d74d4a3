"""A small HTTP/2 client that shows what a sender's library would hide: settings, resets, GOAWAY."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import orjson
from ngh2 import (
    Connection,
    DataReceived,
    Event,
    GoAwayReceived,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
)

DEADLINE_S = 10


@dataclass(slots=True)
class Answered:
    """What one stream came to. `reset` is the error code of a stream that ended without answer."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def json(self) -> dict[str, object]:
        parsed = orjson.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


class SimulatorClient(asyncio.Protocol):
    """One connection. Streams are opened without regard to any limit."""

    def __init__(self) -> None:
        self._http2 = Connection(Role.CLIENT)
        self._streams: dict[int, Answered] = {}
        self._done: dict[int, asyncio.Future[Answered]] = {}
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._authority = ""
        self.goaway: GoAwayReceived | None = None
        self.stream_limits: list[int] = []
        self.is_closed = False

    @classmethod
    async def connect(
        cls, url: str, ca_file: Path, *, alpn: bool = True, heed_settings: bool = True
    ) -> Self:
        """Connect; without `heed_settings`, be free to send before the limit is known."""
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["h2"] if alpn else [])
        address = urlsplit(url)
        client = cls()
        client._authority = address.netloc
        host, port = str(address.hostname), address.port or 443
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, host, port, ssl=context)
        await client.until(lambda: bool(client.stream_limits) or not heed_settings)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._http2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        self._http2.receive_data(data)
        for event in self._http2.events():
            self._on_event(event)
        self._flush()
        self._changed.set()

    def send(
        self, path: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST"
    ) -> "asyncio.Future[Answered]":
        """Start a request; the future ends with its answer or its reset."""
        head = {":method": method, ":scheme": "https", ":authority": self._authority, ":path": path}
        fields = [(k.encode(), v.encode()) for k, v in (head | dict(headers)).items()]
        stream_id = self._http2.send_request(fields)
        self._http2.send_data(stream_id, body, end_stream=True)
        self._streams[stream_id] = Answered()
        self._done[stream_id] = asyncio.get_running_loop().create_future()
        self._flush()
        return self._done[stream_id]

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST"
    ) -> Answered:
        async with asyncio.timeout(DEADLINE_S):
            return await self.send(path, headers, body, method=method)

    def reset_newest(self) -> None:
        """Reset the stream that was opened last."""
        self._http2.reset_stream(max(self._streams))
        self._flush()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that the server sent makes a condition hold."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _on_event(self, event: Event) -> None:
        match event:
            case SettingsReceived():
                self._note_limit(event)
            case GoAwayReceived():
                self.goaway = event
            case ResponseReceived():
                headers = {k.decode(): v.decode() for k, v in event.headers}
                self._streams[event.stream_id].headers = headers
            case DataReceived():
                self._streams[event.stream_id].body += event.data
            case StreamClosed():
                self._end(event)
            case _:
                pass

    def _note_limit(self, event: SettingsReceived) -> None:
        limit = event.settings.get(Setting.MAX_CONCURRENT_STREAMS)
        if limit is not None:
            self.stream_limits.append(limit)

    def _end(self, event: StreamClosed) -> None:
        answered = self._streams.pop(event.stream_id)
        answered.reset = None if answered.headers else event.error_code
        future = self._done.pop(event.stream_id)
        if not future.done():
            future.set_result(answered)

    def _flush(self) -> None:
        assert self._transport is not None
        data = self._http2.data_to_send()
        if data:
            self._transport.write(data)
