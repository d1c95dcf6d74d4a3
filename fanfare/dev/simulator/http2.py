"""One HTTP/2 connection of the simulator, over the Sans-I/O library ngh2.

It answers from plain functions and writes once for each chunk that it reads, because it shares
the machine with the sender whose speed is being measured.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import orjson
from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    ConnectionClosingError,
    ConnectionStateError,
    DataReceived,
    ErrorCode,
    ProtocolError,
    RequestReceived,
    Role,
    Setting,
    StreamClosed,
    StreamUnavailableError,
)

from fanfare.dev.simulator.connections import Connections
from fanfare.dev.simulator.exchange import BODY_LIMIT, Answer, Replies, Request
from fanfare.dev.simulator.script import Action, ScriptedAnswer
from fanfare.models import Environment

# APNs allows one stream until it has seen a valid token, then usually 1000; Google allows 100.
STREAMS_UNTIL_AUTHENTICATED = 1
APNS_STREAMS = 1000
FCM_STREAMS = 100
SETTINGS = {
    Setting.HEADER_TABLE_SIZE: 4096,
    Setting.MAX_CONCURRENT_STREAMS: APNS_STREAMS,
    Setting.INITIAL_WINDOW_SIZE: 65_535,
    Setting.MAX_FRAME_SIZE: 16_384,
    Setting.MAX_HEADER_LIST_SIZE: 8000,
}
# A sender under test may reset as many streams as it likes: that is not abuse here.
CONFIGURATION = Configuration(
    stream_reset_rate_limit=(1_000_000, 1_000_000), glitch_rate_limit=(1_000_000, 1_000_000)
)
LAST_STREAM = 2**31 - 1
STATUS_LINES = {status: (b":status", str(status).encode()) for status in range(200, 600)}
UNANSWERABLE = (StreamUnavailableError, ConnectionStateError, ConnectionClosingError)

_Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections of one port share."""

    replies: Replies
    environment: Environment
    connections: Connections
    one_stream_until_authenticated: bool = True


class Http2Connection(asyncio.Protocol):
    """Serves the streams of one connection, and does to them what a script asks for."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._environment = surroundings.environment
        self._connections = surroundings.connections
        self._replies = surroundings.replies
        self._http2 = Connection(Role.SERVER, CONFIGURATION)
        self._transport: asyncio.Transport | None = None
        self._uploads: dict[int, _Fields] = {}
        self._chunks: dict[int, bytes] = {}
        self._open_streams = 0
        self._highest_stream = 0
        # Behind a GOAWAY or an abort nothing is processed: the client may send it again.
        self._last_stream = LAST_STREAM
        self._is_limited = surroundings.one_stream_until_authenticated
        self._flush_is_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are asyncio's by behaviour, not by descent.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self._transport)
        limit = {Setting.MAX_CONCURRENT_STREAMS: STREAMS_UNTIL_AUTHENTICATED}
        self._http2.initiate_connection(SETTINGS | (limit if self._is_limited else {}))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._transport is not None:
            self._connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._http2.receive_data(data)
        except (ProtocolError, ConnectionStateError):
            self._flush()
            self._close()
            return
        self._take_events()
        self._flush()
        if self._last_stream != LAST_STREAM:
            self._take_events()  # What was just written may have been the last answer.

    def _take_events(self) -> None:
        for event in self._http2.events():
            match event:
                case DataReceived():
                    self._on_data(event)
                case RequestReceived():
                    self._on_request(event)
                case StreamClosed():
                    self._open_streams -= 1
                    self._uploads.pop(event.stream_id, None)
                    self._chunks.pop(event.stream_id, None)
                case ConnectionClosed():
                    # After a GOAWAY this comes when the last stream is answered.
                    self._flush()
                    self._close()
                case _:
                    pass  # ngh2 has answered settings, pings and windows by itself.

    def _on_request(self, event: RequestReceived) -> None:
        self._open_streams += 1
        if self._open_streams > self._connections.peak_streams:
            self._connections.peak_streams = self._open_streams
        if event.end_stream:
            self._serve(event.stream_id, event.headers, b"")
        else:
            self._uploads[event.stream_id] = event.headers

    def _on_data(self, event: DataReceived) -> None:
        stream_id, data = event.stream_id, event.data
        if not event.end_stream:
            if stream_id in self._uploads and data:
                self._chunks[stream_id] = (self._chunks.get(stream_id, b"") + data)[:BODY_LIMIT]
            return
        fields = self._uploads.pop(stream_id, None)
        if fields is not None:
            body = self._chunks.pop(stream_id, b"") + data if self._chunks else data
            self._serve(stream_id, fields, body)

    def _serve(self, stream_id: int, fields: _Fields, body: bytes) -> None:
        if stream_id > self._last_stream:
            return
        if stream_id > self._highest_stream:
            self._highest_stream = stream_id
        request = Request(fields, body, self._environment)
        reply = self._replies.reply(request)
        if self._is_limited and reply.authenticated:
            self._lift_limit(request.path)
        try:
            if reply.plan is None:
                self._answer(stream_id, reply.answer)
            else:
                self._perform(stream_id, reply.answer, reply.plan)
        except UNANSWERABLE:
            return  # The client reset the stream in the same chunk: what was decided stands.

    def _lift_limit(self, path: bytes) -> None:
        self._is_limited = False
        streams = FCM_STREAMS if path.startswith(b"/v1/") else APNS_STREAMS
        self._http2.update_settings({Setting.MAX_CONCURRENT_STREAMS: streams})

    def _answer(self, stream_id: int, answer: Answer) -> None:
        head = (STATUS_LINES[answer.status], *answer.headers)
        if answer.body:
            self._http2.send_response(stream_id, head)
            self._http2.send_data(stream_id, answer.body, end_stream=True)
        else:
            self._http2.send_response(stream_id, head, end_stream=True)

    def _perform(self, stream_id: int, answer: Answer, plan: ScriptedAnswer) -> None:
        if plan.max_concurrent_streams is not None:
            self._http2.update_settings(
                {Setting.MAX_CONCURRENT_STREAMS: plan.max_concurrent_streams}
            )
        if plan.latency_ms:
            asyncio.get_running_loop().call_later(
                plan.latency_ms / 1000, self._carry_out_late, stream_id, answer, plan
            )
        else:
            self._carry_out(stream_id, answer, plan)

    def _carry_out_late(self, stream_id: int, answer: Answer, plan: ScriptedAnswer) -> None:
        if self._transport is None:
            return
        with suppress(*UNANSWERABLE):
            self._carry_out(stream_id, answer, plan)
        self._flush_soon()

    def _carry_out(self, stream_id: int, answer: Answer, plan: ScriptedAnswer) -> None:
        match plan.action:
            case Action.ANSWER:
                self._answer(stream_id, answer)
            case Action.SILENCE | Action.ACCEPT_THEN_SILENCE:
                pass
            case Action.RESET:
                self._http2.reset_stream(stream_id, plan.code)
            case Action.REFUSE:
                self._http2.reset_stream(stream_id, ErrorCode.REFUSED_STREAM)
            case Action.GOAWAY:
                self._answer(stream_id, answer)
                self._go_away(plan.reason)
            case Action.CLOSE:
                self._abort()

    def _go_away(self, reason: str | None) -> None:
        """Name the highest stream that was processed; ngh2 closes when those are answered."""
        self._last_stream = self._highest_stream
        debug_data = b"" if reason is None else orjson.dumps({"reason": reason})
        self._http2.send_goaway(last_stream_id=self._last_stream, debug_data=debug_data)

    def _flush_soon(self) -> None:
        """Write once at the end of this turn, however many late answers fall into it."""
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self._flush()
        self._take_events()

    def _flush(self) -> None:
        if self._transport is not None:
            data = self._http2.data_to_send()
            if data:
                self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            self._last_stream = 0
            self._connections.discard(transport)
            transport.abort()
