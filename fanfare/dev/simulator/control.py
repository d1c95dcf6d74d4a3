"""The control port: the script, the ledger and the page, over plain HTTP on the loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Annotated, Any, Protocol

import orjson
import uvicorn
from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from fanfare.dev.simulator import page
from fanfare.dev.simulator.connections import Connections
from fanfare.dev.simulator.exchange import Endpoint
from fanfare.dev.simulator.ledger import Acceptance, Ledger
from fanfare.dev.simulator.script import Rule, RuleReport
from fanfare.models import Environment

LINES_PER_CHUNK = 2000


class Controlled(Protocol):
    """What the control port needs of a simulator."""

    ledger: Ledger
    connections: Connections

    def script(self, rules: Any) -> None: ...  # Any: validated by the script

    def script_report(self) -> list[RuleReport]: ...

    def forget(self) -> None: ...


class Entry(BaseModel):
    """One acceptance. `collapse_id` is apns-collapse-id or android.notification.tag."""

    model_config = ConfigDict(from_attributes=True)

    sequence: int
    provider: Endpoint
    environment: Environment
    token: str
    collapse_id: str
    message_id: str
    title: str
    body: str
    data: dict[str, Any]  # Any: the sender's own JSON
    topic: str
    expiration: str
    accepted_at: datetime


class Entries(BaseModel):
    """A page of acceptances, newest last; `next_cursor` leads on while there are more."""

    data: list[Entry]
    next_cursor: int | None


class Counts(BaseModel):
    """Counts of one provider, or of all. `tokens` are distinct per provider and collapse id,
    `duplicates` those of them that were accepted more than once.
    """

    model_config = ConfigDict(from_attributes=True)

    requests: int
    accepted: int
    tokens: int
    duplicates: int
    rejected: dict[str, int]
    unanswered: dict[str, int]
    last_accepted_at: datetime | None


class Stats(Counts):
    by_provider: dict[Endpoint, Counts]
    open_connections: int
    peak_streams: int


class ScriptView(BaseModel):
    data: list[RuleReport]


def control_app(simulator: Controlled) -> FastAPI:
    """The control API of a simulator."""
    app = FastAPI(title="Fanfare simulator", openapi_url=None)
    app.add_exception_handler(RequestValidationError, _on_bad_request)
    _add_script_routes(app, simulator)
    _add_ledger_routes(app, simulator)
    _add_page_routes(app, simulator)
    return app


@asynccontextmanager
async def serve(app: FastAPI, *, host: str, port: int) -> AsyncIterator[str]:
    """Serve in this loop while the block runs, and yield the address."""
    listening = socket.create_server((host, port))
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await server.is_serving.wait()
    try:
        yield f"http://{host}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving


class _Server(uvicorn.Server):
    """A server that says when it is up, and leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_serving.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _add_script_routes(app: FastAPI, simulator: Controlled) -> None:
    @app.get("/script")
    async def read_script() -> ScriptView:
        """The rules in force, in order, with how many requests each decided."""
        return ScriptView(data=simulator.script_report())

    @app.post("/script")
    async def replace_script(rules: Annotated[list[Rule], Body()]) -> ScriptView:
        """Put these rules in force in place of any others."""
        simulator.script(rules)
        return ScriptView(data=simulator.script_report())

    @app.delete("/script", status_code=204)
    async def clear_script() -> None:
        simulator.script([])


def _add_ledger_routes(app: FastAPI, simulator: Controlled) -> None:
    @app.get("/ledger")
    async def read_ledger(
        provider: Endpoint | None = None,
        collapse_id: str | None = None,
        token: str | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: Annotated[int, Query(ge=0)] = 0,
    ) -> Entries:
        """What was accepted, oldest first."""
        found = simulator.ledger.acceptances(
            provider=provider, collapse_id=collapse_id, token=token, after=cursor
        )
        entries = [
            _entry(acceptance) for acceptance, _ in zip(found, range(limit + 1), strict=False)
        ]
        more = entries[limit - 1].sequence if len(entries) > limit else None
        return Entries(data=entries[:limit], next_cursor=more)

    @app.get("/ledger/stats")
    async def read_stats(collapse_id: str | None = None) -> Stats:
        """Counts of all requests, or of those with a collapse id."""
        return _stats(simulator, collapse_id)

    @app.get("/ledger/tokens")
    async def read_tokens(collapse_id: str | None = None) -> StreamingResponse:
        """One JSON line per provider, collapse id and token: how often it was accepted."""
        lines = _token_lines(simulator.ledger, collapse_id)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @app.delete("/ledger", status_code=204)
    async def clear_ledger() -> None:
        simulator.forget()


def _add_page_routes(app: FastAPI, simulator: Controlled) -> None:
    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> HTMLResponse:
        """The last notifications, as a phone would show them."""
        html = page.render(simulator.ledger, len(simulator.connections))
        return HTMLResponse(html, headers=page.HEADERS)

    @app.get("/page.css")
    async def show_style() -> Response:
        return Response(page.asset("page.css"), media_type="text/css")

    @app.get("/page.js")
    async def show_script() -> Response:
        return Response(page.asset("page.js"), media_type="text/javascript")

    @app.get("/healthz")
    async def show_health() -> dict[str, str]:
        return {"status": "ok"}


def _stats(simulator: Controlled, collapse_id: str | None) -> Stats:
    ledger = simulator.ledger
    by_provider = {
        endpoint: Counts.model_validate(ledger.totals(provider=endpoint, collapse_id=collapse_id))
        for endpoint in Endpoint
    }
    return Stats(
        **Counts.model_validate(ledger.totals(collapse_id=collapse_id)).model_dump(),
        by_provider=by_provider,
        open_connections=len(simulator.connections),
        peak_streams=simulator.connections.peak_streams,
    )


def _entry(acceptance: Acceptance) -> Entry:
    envelope = acceptance.envelope
    return Entry(
        sequence=acceptance.sequence,
        provider=envelope.provider,
        environment=envelope.environment,
        token=acceptance.token,
        collapse_id=envelope.collapse_id,
        message_id=acceptance.message_id,
        title=envelope.title,
        body=envelope.body,
        data=dict(envelope.data),
        topic=envelope.topic,
        expiration=envelope.expiration,
        accepted_at=acceptance.accepted_at,
    )


async def _token_lines(ledger: Ledger, collapse_id: str | None) -> AsyncIterator[bytes]:
    """NDJSON in chunks, so that neither memory nor the loop is held for a million tokens."""
    for provider, key, tally in list(ledger.tallies(collapse_id=collapse_id)):
        tokens = list(tally.tokens)
        for start in range(0, len(tokens), LINES_PER_CHUNK):
            chunk = tokens[start : start + LINES_PER_CHUNK]
            yield b"".join(
                orjson.dumps(
                    {
                        "provider": provider,
                        "collapse_id": key,
                        "token": token,
                        "accepted": tally.tokens[token],
                    },
                    option=orjson.OPT_APPEND_NEWLINE,
                )
                for token in chunk
            )


async def _on_bad_request(_: Request, error: Exception) -> JSONResponse:
    """400 with the path of each fault, counted from the body's root."""
    assert isinstance(error, RequestValidationError)
    fields = [
        {"path": ".".join(str(part) for part in fault["loc"][1:]), "message": fault["msg"]}
        for fault in error.errors()
    ]
    message = "; ".join(f"{field['path']}: {field['message']}" for field in fields)
    content = {
        "error": {"code": "INVALID_INPUT", "message": message, "details": {"fields": fields}}
    }
    return JSONResponse(content, status_code=400)
