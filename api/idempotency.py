"""Idempotency-Key: the same request twice is answered once.

The claim is committed before the route runs and the answer after the route's own transaction, so
a crash between leaves the claim to run out. Answers are sealed: some show a secret, once.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import MAX_BODY_BYTES, read_body
from api.principals import NO_PROJECT, Principal
from api.resources import Resources
from fanfare.db import idempotency
from fanfare.db.idempotency import Answer, Claim
from fanfare.entities import SealedSecret
from fanfare.errors import DatabaseUnavailable, FieldFault, InvalidInput
from fanfare.models import ProjectCtx
from fanfare.sealing import KeyRing

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"

_SHAPE = re.compile(r"[!-~]{1,255}")
_log = structlog.get_logger()


async def run_once(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    principal: Principal,
    limit: int = MAX_BODY_BYTES,
) -> None:
    """Run `app` for the request, or send the answer that the same request had before.

    `limit` is how many bytes its body may have.

    Refusals and failures are not kept: the key is free again, for when the cause is mended.
    Raises RequestTooLarge, InvalidInput, IdempotencyKeyReused, IdempotencyKeyInUse or
    DatabaseUnavailable.
    """
    request = Request(scope, receive)
    resources: Resources = request.app.state.resources
    project = principal.project or NO_PROJECT
    body = await read_body(request.stream(), limit)
    async with resources.database.project(project) as conn:
        found = await idempotency.claim(conn, project, _key_of(request), _hash(request, body))
    if isinstance(found, Answer):
        await _replay(found, project, resources.key_ring)(scope, receive, send)
        return
    ledger = _Ledger(resources, project, found)
    await ledger.run(app, scope, _Replayable(body, receive), send)


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
            await self._release()
            raise
        if answer.status < 400:
            await self._store(answer)
        else:
            await self._release()
        for message in answer.messages:
            await send(message)

    async def _store(self, answer: _Recorder) -> None:
        sealed = _seal(answer.body, self.project, self.claim.key, self.resources.key_ring)
        try:
            async with self.resources.database.project(self.project) as conn:
                kept = Answer(answer.status, sealed)
                await idempotency.store(conn, self.project, self.claim, kept)
        except DatabaseUnavailable:
            # The work is done and the answer true; it is sent although it could not be kept.
            _log.warning("idempotent_answer_not_kept")

    async def _release(self) -> None:
        try:
            async with self.resources.database.project(self.project) as conn:
                await idempotency.release(conn, self.project, self.claim)
        except DatabaseUnavailable:
            _log.warning("idempotency_claim_not_released")


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
