"""Around every request: its id, its line in the log, and an answer whatever happens."""

import re
import time
import traceback
from pathlib import Path

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import UNEXPECTED, error_body
from fanfare.ids import new_id

HEADER = "X-Request-Id"

_SHAPE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_log = structlog.get_logger()


class RequestLog:
    """ASGI middleware. The log names the route and never the path: paths hold device tokens."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, _Sender(send, request_id))

    async def _answer(self, scope: Scope, receive: Receive, sender: "_Sender") -> None:
        began = time.perf_counter()
        try:
            await self.app(scope, receive, sender)
        except ClientDisconnect:
            sender.status = 499  # nginx's word for a client that left
        except Exception as error:  # noqa: BLE001 - the last resort: an answer instead of none
            await _answer_unexpected(error, scope, receive, sender)
        finally:
            milliseconds = round((time.perf_counter() - began) * 1000, 1)
            _log.info(
                "request",
                method=scope["method"],
                operation=_operation(scope),
                status=sender.status,
                ms=milliseconds,
            )


class _Sender:
    """A `send` that adds the request's id and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._request_id
        await self._send(message)


async def _answer_unexpected(
    error: Exception, scope: Scope, receive: Receive, sender: _Sender
) -> None:
    # Where, not what: the text of an exception may quote a token or a row.
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    _log.error("request_failed", error_type=type(error).__name__, where=where[-8:])
    if sender.status is not None:
        return
    status, code = UNEXPECTED
    message = "Something went wrong here. The log knows more, under the request id."
    body = error_body(Request(scope), code, message)
    await JSONResponse(body, status)(scope, receive, sender)


def _request_id(headers: Headers) -> str:
    given = headers.get(HEADER, "")
    return given if _SHAPE.fullmatch(given) else new_id().hex


def _operation(scope: Scope) -> str | None:
    name = getattr(scope.get("route"), "name", None)
    return name if isinstance(name, str) else None
