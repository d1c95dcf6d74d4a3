"""Idempotency-Key: the same request twice is answered once.

The claim is committed before the route runs and the answer after the route's own transaction, so
a crash between leaves the claim to run out, after a minute; then the same request takes it over,
with its id, by which the route finds what the first run made. Answers are sealed: some show a
secret, once.

Who comes while the first run goes on waits for its answer, and holds no connection meanwhile.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import MAX_BODY_BYTES, read_body
from api.principals import NO_PROJECT, Principal
from api.resources import Resources, resources_of
from fanfare.db import idempotency
from fanfare.db.idempotency import CLAIMED_FOR, Answer, Claim
from fanfare.entities import SealedSecret
from fanfare.errors import DatabaseUnavailable, FieldFault, IdempotencyKeyInUse, InvalidInput
from fanfare.ids import new_id
from fanfare.models import ProjectCtx
from fanfare.sealing import KeyRing

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"

# How long a request waits for the answer to the one before it.
PATIENCE = timedelta(seconds=10)
# The first is about as long as a route takes.
_SHORTEST_PAUSE = timedelta(milliseconds=50)
_LONGEST_PAUSE = timedelta(milliseconds=400)

# Between tries to note what has become of a claim, while PostgreSQL is away.
_NOTE_AGAIN = timedelta(seconds=1)

_SHAPE = re.compile(r"[!-~]{1,255}")
_log = structlog.get_logger()

_Note: TypeAlias = Callable[[AsyncConnection], Awaitable[None]]


async def run_once(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    principal: Principal,
    limit: int = MAX_BODY_BYTES,
    patience: timedelta = PATIENCE,
) -> None:
    """Run `app` for the request, or send the answer that the same request had before.

    `limit` is how many bytes its body may have, `patience` how long it may wait for the answer to
    the same request that came before and goes on. While `app` runs, `request.state.claim_id` is
    the id of its claim.

    Refusals and failures are not kept: the same request may come again, when the cause is mended.
    Raises RequestTooLarge, InvalidInput, IdempotencyKeyReused, IdempotencyKeyInUse,
    DatabaseUnavailable, or ClientDisconnect from a wait.
    """
    request = Request(scope, receive)
    resources = resources_of(request)
    project = principal.project or NO_PROJECT
    body = await read_body(request.stream(), limit)
    asked = _Asked(resources, project, _key_of(request), _hash(request, body))
    found = await asked.claim_or_wait(receive, patience)
    if isinstance(found, Answer):
        await _replay(found, project, resources.key_ring)(scope, receive, send)
        return
    request.state.claim_id = found.claim_id
    ledger = _Ledger(resources, project, found)
    await ledger.run(app, scope, _Replayable(body, receive), send)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with its key, before it is known whether it is the first."""

    resources: Resources
    project: ProjectCtx
    key: str
    request_hash: bytes

    async def claim_or_wait(self, receive: Receive, patience: timedelta) -> Claim | Answer:
        clock = asyncio.get_running_loop().time
        until = clock() + patience.total_seconds()
        for pause in _pauses():
            try:
                return await self._claim()
            except IdempotencyKeyInUse:
                if clock() + pause > until:
                    raise _still_in_use(patience) from None
            await _pause(receive, pause)
        raise AssertionError("pauses never end")

    async def _claim(self) -> Claim | Answer:
        async with self.resources.database.project(self.project) as conn:
            return await idempotency.claim(
                conn, self.project, self.key, self.request_hash, new_id()
            )


@dataclass(slots=True)
class _Recorder:
    """Holds an answer back until it is complete."""

    messages: list[Message] = field(default_factory=list)

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


@dataclass(slots=True)
class _Replayable:
    """A `receive` that gives the body, which was read before, and then the client's own events."""

    body: bytes
    receive: Receive
    given: bool = False

    async def __call__(self) -> Message:
        if self.given:
            return await self.receive()
        self.given = True
        return {"type": "http.request", "body": self.body, "more_body": False}


@dataclass(frozen=True, slots=True)
class _Ledger:
    resources: Resources
    project: ProjectCtx
    claim: Claim

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Recorder()
        try:
            await app(scope, receive, answer)
        except BaseException:
            await self._give_up(may_have_worked=True)
            raise
        if answer.status < 400:
            await self._store(answer)
        else:
            # A 503 may be for a commit whose outcome was lost with the connection.
            await self._give_up(may_have_worked=answer.status >= 500)
        for message in answer.messages:
            await send(message)

    async def _store(self, answer: _Recorder) -> None:
        """Keep an answer. The work is done and the answer true: it is sent though it cannot be."""
        sealed = _seal(answer.body, self.project, self.claim.key, self.resources.key_ring)
        kept = Answer(answer.status, sealed)

        async def store(conn: AsyncConnection) -> None:
            await idempotency.store(conn, self.project, self.claim, kept)

        await self._note(store, "idempotent_answer_not_kept")

    async def _give_up(self, *, may_have_worked: bool) -> None:
        # What the run before it made is there, though this one was refused.
        keeps_id = may_have_worked or self.claim.is_takeover
        leave = idempotency.unlock if keeps_id else idempotency.release

        async def give_up(conn: AsyncConnection) -> None:
            await leave(conn, self.project, self.claim)

        await self._note(give_up, "idempotency_claim_not_given_up")

    async def _note(self, note: _Note, event: str) -> None:
        """Note it, now or as soon as PostgreSQL answers again: who comes with the key meanwhile
        waits for it."""
        try:
            await self._write(note)
        except DatabaseUnavailable:
            _log.warning(event)
            self.resources.chores.add(self._note_later(note))

    async def _note_later(self, note: _Note) -> None:
        """Try until the claim has run out by itself."""
        clock = asyncio.get_running_loop().time
        until = clock() + CLAIMED_FOR.total_seconds()
        while clock() < until:
            await asyncio.sleep(_NOTE_AGAIN.total_seconds())
            with contextlib.suppress(DatabaseUnavailable):
                return await self._write(note)
        return None

    async def _write(self, note: _Note) -> None:
        async with self.resources.database.project(self.project) as conn:
            await note(conn)


def _pauses() -> Iterator[float]:
    """Seconds, growing, without end."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause.total_seconds()
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _pause(receive: Receive, seconds: float) -> None:
    """Wait, as long as the client does. Its body is read, so nothing but its leaving is to come.

    Raises ClientDisconnect.
    """
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
    raise ClientDisconnect


def _still_in_use(patience: timedelta) -> IdempotencyKeyInUse:
    return IdempotencyKeyInUse(
        "The first request with this Idempotency-Key still has no answer, after a wait of "
        f"{patience.total_seconds():g} s. Send the same request again later."
    )


def _key_of(request: Request) -> str:
    key = request.headers[HEADER]
    if _SHAPE.fullmatch(key) is None:
        fault = FieldFault(f"header.{HEADER}", "must be 1 to 255 visible ASCII characters")
        raise InvalidInput("The Idempotency-Key cannot be used.", [fault])
    return key


def _hash(request: Request, body: bytes) -> bytes:
    scope = request.scope
    parts = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body)
    return hashlib.sha256(b"\0".join(parts)).digest()


def _replay(answer: Answer, project: ProjectCtx, key_ring: KeyRing) -> Response:
    sealed = orjson.loads(answer.response)
    secret = SealedSecret(
        base64.b64decode(sealed["secret"]),
        base64.b64decode(sealed["wrapped_key"]),
        sealed["wrapped_by"],
    )
    body = key_ring.open(secret, context=_context(project, sealed["key"]))
    headers = {REPLAYED: "true"}
    return Response(body, answer.status, headers=headers, media_type="application/json")


def _seal(body: bytes, project: ProjectCtx, key: str, key_ring: KeyRing) -> bytes:
    sealed = key_ring.seal(body.decode(), context=_context(project, key))
    return orjson.dumps(
        {
            "key": key,
            "secret": base64.b64encode(sealed.secret).decode(),
            "wrapped_key": base64.b64encode(sealed.wrapped_key).decode(),
            "wrapped_by": sealed.wrapped_by,
        }
    )


def _context(project: ProjectCtx, key: str) -> str:
    return f"{project.project_id}|idempotency|{key}"
