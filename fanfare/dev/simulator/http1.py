"""One HTTP/1.1 connection, for clients that speak no HTTP/2: token calls of google-auth, curl."""

import asyncio
from collections.abc import Iterable
from typing import cast

import h11

from fanfare.dev.simulator.exchange import BODY_LIMIT, Answer, Request
from fanfare.dev.simulator.http2 import Surroundings
from fanfare.dev.simulator.script import Action, ScriptedAnswer


class Http1Connection(asyncio.Protocol):
    """Serves one request after another."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._http1 = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._head: h11.Request | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are asyncio's by behaviour, not by descent.
        self._transport = cast("asyncio.Transport", transport)
        self._surroundings.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._transport is not None:
            self._surroundings.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._http1.receive_data(data)
        self._advance()

    def _advance(self) -> None:
        try:
            for event in self._events():
                self._on_event(event)
        except h11.RemoteProtocolError:
            self._close()

    def _events(self) -> Iterable[h11.Event]:
        while True:
            event = self._http1.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            assert isinstance(event, h11.Event)
            yield event

    def _on_event(self, event: h11.Event) -> None:
        match event:
            case h11.Request():
                self._head, self._body = event, b""
            case h11.Data():
                self._body = (self._body + bytes(event.data))[:BODY_LIMIT]
            case h11.EndOfMessage():
                self._serve()
            case _:
                self._close()

    def _serve(self) -> None:
        assert self._head is not None
        start = ((b":method", self._head.method), (b":path", self._head.target))
        request = Request((*start, *self._head.headers), self._body, self._surroundings.environment)
        reply = self._surroundings.replies.reply(request)
        plan = reply.plan or ScriptedAnswer()
        if plan.latency_ms:
            delay = plan.latency_ms / 1000
            asyncio.get_running_loop().call_later(delay, self._carry_out, reply.answer, plan)
        else:
            self._carry_out(reply.answer, plan)

    def _carry_out(self, answer: Answer, plan: ScriptedAnswer) -> None:
        """Where HTTP/1.1 has no word for an action, the connection ends."""
        match plan.action:
            case Action.ANSWER:
                self._answer(answer)
            case Action.GOAWAY:
                self._answer(answer._replace(headers=(*answer.headers, (b"connection", b"close"))))
            case Action.SILENCE | Action.ACCEPT_THEN_SILENCE:
                pass
            case Action.RESET | Action.REFUSE | Action.CLOSE:
                self._abort()

    def _answer(self, answer: Answer) -> None:
        if self._transport is None:
            return
        length = (b"content-length", b"%d" % len(answer.body))
        response = h11.Response(status_code=answer.status, headers=[*answer.headers, length])
        for event in (response, h11.Data(data=answer.body), h11.EndOfMessage()):
            self._transport.write(self._http1.send(event) or b"")
        if self._http1.our_state is h11.MUST_CLOSE:
            self._close()
        else:
            self._http1.start_next_cycle()
            self._advance()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
