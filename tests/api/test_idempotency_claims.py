"""What becomes of a key while its request runs, when it was refused, and when it crashed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient, Response
from starlette.types import Message, Scope

from api.routing import GuardedRoute
from fanfare.db import idempotency, segments
from fanfare.db.engine import Database
from fanfare.errors import DatabaseUnavailable, SegmentExists
from fanfare.models import ProjectCtx
from tests.api.conftest import Tenant, open_client, own_segments

SEGMENT = b'{"name": "s", "rules": {"field": "email", "op": "exists"}}'
OTHER_SEGMENT = b'{"name": "t", "rules": {"field": "email", "op": "exists"}}'
API_KEY = b'{"name": "k", "scopes": ["admin"]}'
KEYED = {"Idempotency-Key": "a", "Content-Type": "application/json"}

Create = Callable[..., Awaitable[object]]


async def post_segment(client: AsyncClient, content: bytes = SEGMENT) -> Response:
    return await client.post("/admin/segments", content=content, headers=KEYED)


async def post_key(client: AsyncClient) -> Response:
    return await client.post("/admin/keys", content=API_KEY, headers=KEYED)


@dataclass(slots=True)
class Waiter:
    """A keyed request by hand. `waits` is set when the server listens whether it leaves."""

    tenant: Tenant
    content: bytes = SEGMENT
    is_read: bool = False
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)

    @property
    def scope(self) -> Scope:
        headers = {"Authorization": f"Bearer {self.tenant.key}", **KEYED}
        return {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/admin/segments",
            "raw_path": b"/admin/segments",
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        }

    async def receive(self) -> Message:
        if not self.is_read:
            self.is_read = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        self.waits.set()
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class HeldCreate:
    """`segments.create`, whose first call goes on as `then` only once a waiter waits for it."""

    def __init__(self, waiter: Waiter, then: Create) -> None:
        self.entered = asyncio.Event()
        self._waiter = waiter
        self._then = then
        self._calls: Iterator[Create] = iter((self._held, segments.create))

    async def __call__(self, *args: object) -> object:
        return await next(self._calls)(*args)

    async def _held(self, *args: object) -> object:
        self.entered.set()
        await self._waiter.waits.wait()
        return await self._then(*args)


async def _refuse(*_: object) -> None:
    raise SegmentExists("no")


async def _explode(*_: object) -> None:
    raise RuntimeError("no")


class AwayAtFirst:
    """Notes something, once the database is there."""

    TIMES = 3

    def __init__(self, note: Create) -> None:
        self.calls = 0
        self._note = note

    async def __call__(self, *args: object) -> object:
        self.calls += 1
        if self.calls <= self.TIMES:
            raise DatabaseUnavailable("PostgreSQL does not answer.")
        return await self._note(*args)


async def test_waiter_gets_the_answer_of_the_first(
    app: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter = Waiter(tenant)
    held = HeldCreate(waiter, segments.create)
    monkeypatch.setattr("fanfare.db.segments.create", held)
    first = asyncio.create_task(post_segment(tenant.client))
    await held.entered.wait()

    await app(waiter.scope, waiter.receive, waiter.send)

    assert (b"idempotent-replayed", b"true") in waiter.sent[0]["headers"]
    assert waiter.body == (await first).content


async def test_waiter_runs_itself_when_the_first_was_refused(
    app: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter = Waiter(tenant)
    held = HeldCreate(waiter, _refuse)
    monkeypatch.setattr("fanfare.db.segments.create", held)
    first = asyncio.create_task(post_segment(tenant.client))
    await held.entered.wait()

    await app(waiter.scope, waiter.receive, waiter.send)

    assert [(await first).status_code, waiter.sent[0]["status"]] == [409, 201]
    assert len(await own_segments(tenant.client)) == 1


async def test_another_body_does_not_wait(
    app: FastAPI, tenant: Tenant, api_database: Database
) -> None:
    await post_segment(tenant.client)
    await _rewind(tenant, api_database, "60 seconds")
    other = Waiter(tenant, OTHER_SEGMENT)

    await app(other.scope, other.receive, other.send)

    assert other.sent[0]["status"] == 422
    assert not other.waits.is_set()


async def test_waiter_that_leaves_leaves_nothing_behind(
    app: FastAPI, tenant: Tenant, api_database: Database
) -> None:
    await post_segment(tenant.client)
    await _rewind(tenant, api_database, "60 seconds")
    before = await _claim(tenant, api_database)
    waiter = Waiter(tenant)
    waiter.leaves.set()

    await app(waiter.scope, waiter.receive, waiter.send)

    assert waiter.waits.is_set()
    assert waiter.sent == []
    assert await _claim(tenant, api_database) == before


async def test_waiter_gives_up_in_the_end(
    tenant: Tenant, api_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post_segment(tenant.client)
    await _rewind(tenant, api_database, "60 seconds")
    monkeypatch.setattr(GuardedRoute, "key_patience", timedelta(0))

    refused = await post_segment(tenant.client)

    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "IDEMPOTENCY_KEY_IN_USE"
    assert "after a wait of 0 s" in refused.json()["error"]["message"]


async def test_request_that_crashed_finds_the_segment_that_it_made(
    tenant: Tenant, api_database: Database
) -> None:
    first = await post_segment(tenant.client)
    await _rewind(tenant, api_database, "-1 second")

    again = await post_segment(tenant.client)

    assert "Idempotent-Replayed" not in again.headers
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(await own_segments(tenant.client)) == 1


async def test_id_of_a_claim_is_a_uuid_of_version_7_and_stays_when_it_is_taken_over(
    tenant: Tenant, api_database: Database
) -> None:
    await post_segment(tenant.client)
    await _rewind(tenant, api_database, "-1 second")
    before = await _claim(tenant, api_database)

    await post_segment(tenant.client)

    after = await _claim(tenant, api_database)
    assert after["claim_id"] == before["claim_id"]
    assert after["claim_id"].version == 7
    assert after["locked_until"] > before["locked_until"]


async def test_id_of_a_claim_ends_with_its_thirty_days(
    tenant: Tenant, api_database: Database
) -> None:
    await post_segment(tenant.client)
    before = await _claim(tenant, api_database)
    await _update(tenant, api_database, "created_at = now() - interval '31 days'")

    made = await post_segment(tenant.client)

    assert made.status_code == 201
    assert (await _claim(tenant, api_database))["claim_id"] != before["claim_id"]
    assert len(await own_segments(tenant.client)) == 2


async def test_failure_keeps_the_id_of_its_claim_for_the_same_request_alone(
    tenant: Tenant, api_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("fanfare.db.segments.create", _explode)
        failed = await post_segment(tenant.client)
    before = await _claim(tenant, api_database)

    other = await post_segment(tenant.client, OTHER_SEGMENT)
    again = await post_segment(tenant.client)

    assert [failed.status_code, other.status_code, again.status_code] == [500, 422, 201]
    assert (await _claim(tenant, api_database))["claim_id"] == before["claim_id"]


@pytest.mark.parametrize(
    ("outcome", "then"), [("store", segments.create), ("unlock", _explode), ("release", _refuse)]
)
async def test_outcome_of_a_claim_is_noted_once_the_database_is_back(
    app: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, outcome: str, then: Create
) -> None:
    note = AwayAtFirst(getattr(idempotency, outcome))
    monkeypatch.setattr(f"fanfare.db.idempotency.{outcome}", note)
    monkeypatch.setattr("api.idempotency._NOTE_AGAIN", timedelta(0))
    with monkeypatch.context() as patched:
        patched.setattr("fanfare.db.segments.create", then)
        await post_segment(tenant.client)
        await app.state.resources.chores.done()

    again = await post_segment(tenant.client)

    assert note.calls == AwayAtFirst.TIMES + 1
    assert again.status_code == 201
    assert len(await own_segments(tenant.client)) == 1


async def test_refusal_of_a_request_that_crashed_keeps_the_id_of_its_claim(
    tenant: Tenant, api_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await post_segment(tenant.client)
    await _rewind(tenant, api_database, "-1 second")
    with monkeypatch.context() as patched:
        patched.setattr("fanfare.db.segments.create", _refuse)
        refused = await post_segment(tenant.client)

    again = await post_segment(tenant.client)

    assert refused.status_code == 409
    assert (again.status_code, again.json()) == (201, first.json())


async def test_key_of_a_request_that_crashed_gets_a_secret_that_is_seen(
    app: FastAPI, tenant: Tenant, api_database: Database
) -> None:
    unseen = (await post_key(tenant.client)).json()["data"]
    await _rewind(tenant, api_database, "-1 second")

    seen = (await post_key(tenant.client)).json()["data"]

    assert seen["id"] == unseen["id"]
    assert await _status_with(app, unseen["secret"]) == 401
    assert await _status_with(app, seen["secret"]) == 200


async def test_key_that_was_seen_after_all_keeps_its_secret(
    app: FastAPI, tenant: Tenant, api_database: Database
) -> None:
    used = (await post_key(tenant.client)).json()["data"]
    await _status_with(app, used["secret"])
    await _rewind(tenant, api_database, "-1 second")

    fresh = (await post_key(tenant.client)).json()["data"]

    assert fresh["id"] != used["id"]
    assert await _status_with(app, used["secret"]) == 200
    assert await _status_with(app, fresh["secret"]) == 200


async def _rewind(tenant: Tenant, database: Database, remaining: str) -> None:
    """Have the request of the only key look unfinished, its claim with so much time left."""
    assignment = f"status = NULL, response = NULL, locked_until = now() + interval '{remaining}'"
    await _update(tenant, database, assignment)


async def _update(tenant: Tenant, database: Database, assignment: str) -> None:
    async with database.project(ProjectCtx(UUID(tenant.project_id))) as conn:
        await conn.execute(sa.text(f"UPDATE idempotency_keys SET {assignment}"))


async def _claim(
    tenant: Tenant, database: Database
) -> Mapping[str, Any]:  # Any: values of many columns
    async with database.project(ProjectCtx(UUID(tenant.project_id))) as conn:
        found = await conn.execute(sa.text("SELECT * FROM idempotency_keys"))
        return dict(found.mappings().one())


async def _status_with(app: FastAPI, secret: str) -> int:
    async with open_client(app, secret) as client:
        return (await client.get("/admin/project")).status_code
