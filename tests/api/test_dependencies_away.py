"""Every route of the description, while PostgreSQL, Temporal or an answer is missing: 503 with
Retry-After and the error body where it cannot be done, and never a 500. Whoever adds a route adds
it here."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import orjson
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from api.__main__ import PATIENCE
from api.app import create_app
from api.resources import Resources
from fanfare import api_keys
from fanfare.db import campaigns
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.models import Content, ProjectCtx
from tests.api.conftest import (
    KEY_RING,
    NO_READS,
    NO_TEMPORAL,
    OPERATOR_KEY,
    Tenant,
    open_client,
)

Json = dict[str, object]

ID = UUID("0190b5a2-3c58-7d6e-9f10-2b3c4d5e6f70")
# Open to everyone, and not about anything that is stored.
OPEN = {"get_health", "get_readiness"}
# Within so many seconds the caller is told, whatever hangs.
ANSWERED_WITHIN = 12.0
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
A_KEY = api_keys.mint(b"p" * 32).text


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, with a body that it describes as an example."""

    name: str
    method: str
    path: str
    content_type: str | None
    content: bytes | None

    def url(self, project_id: str) -> str:
        filled = self.path.replace("{project_id}", project_id).replace("{provider}", "fcm")
        return filled.replace("{id}", str(ID)).replace("{external_id}", "user-42")

    async def make(self, client: AsyncClient, project_id: str) -> Response:
        headers = {} if self.content_type is None else {"Content-Type": self.content_type}
        url = self.url(project_id)
        return await client.request(self.method, url, content=self.content, headers=headers)


def _described() -> Json:
    resources = Resources(
        database=Database(NOWHERE),
        reads=NO_READS,
        temporal=NO_TEMPORAL,
        key_ring=KEY_RING,
        pepper=b"",
    )
    return create_app(resources).openapi()


def _body_of(operation: Mapping[str, Json]) -> tuple[str, bytes] | tuple[None, None]:
    """The first example of the first kind that it takes."""
    content = operation.get("requestBody", {}).get("content", {})
    assert isinstance(content, dict)
    kind, body = next(iter(content.items()), (None, None))
    if kind is None or body is None:
        return None, None
    if "example" in body:
        return kind, body["example"].encode()
    return kind, orjson.dumps(body["schema"]["examples"][0])


def _calls() -> list[Call]:
    paths = _described()["paths"]
    assert isinstance(paths, dict)
    return [
        Call(operation["operationId"], method, path, *_body_of(operation))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation["operationId"] not in OPEN
    ]


CALLS = _calls()


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told, and after how long."""

    name: str
    status: int
    retry_after: str | None
    code: object
    has_request_id: bool
    seconds: float

    @property
    def is_unavailable(self) -> bool:
        is_told = self.status == 503 and self.has_request_id and str(self.code).isupper()
        return is_told and self.retry_after is not None and int(self.retry_after) > 0


async def ask(call: Call, client: AsyncClient, project_id: str) -> Told:
    began = time.monotonic()
    answer = await call.make(client, project_id)
    seconds = time.monotonic() - began
    error = _error_of(answer)
    return Told(
        name=call.name,
        status=answer.status_code,
        retry_after=answer.headers.get("Retry-After"),
        code=error.get("code"),
        has_request_id=bool(error.get("request_id")),
        seconds=seconds,
    )


def _error_of(answer: Response) -> Json:
    is_json = answer.headers.get("Content-Type", "") == "application/json"
    found = answer.json() if is_json and answer.content else {}
    error = found.get("error", {}) if isinstance(found, dict) else {}
    assert isinstance(error, dict)
    return error


class Clients:
    """Of one application: with a project's key, and with the operator's, each for its routes."""

    def __init__(self, app: FastAPI, key: str) -> None:
        self._project = open_client(app, key)
        self._operator = open_client(app, OPERATOR_KEY)

    def of(self, call: Call) -> AsyncClient:
        return self._operator if call.path.startswith("/admin/projects") else self._project

    async def ask_all(self, project_id: str) -> list[Told]:
        """Every operation, all at the same time."""
        asked = (ask(call, self.of(call), project_id) for call in CALLS)
        return list(await asyncio.gather(*asked))

    async def close(self) -> None:
        await self._project.aclose()
        await self._operator.aclose()


@dataclass(frozen=True, slots=True)
class Away:
    """A database that cannot be used, by both ways to it."""

    database: Database
    reads: ReadPool


async def ask_over(app: FastAPI, away: Away) -> list[Told]:
    """Ask the application over a database that is away, so that it knows no key."""
    resources: Resources = app.state.resources
    without = replace(resources, database=away.database, reads=away.reads)
    return await ask_all(without, A_KEY, str(ID))


async def ask_all(resources: Resources, key: str, project_id: str) -> list[Told]:
    clients = Clients(create_app(resources), key)
    told = await clients.ask_all(project_id)
    await clients.close()
    return told


@asynccontextmanager
async def database_at(url: str) -> AsyncIterator[Away]:
    """As many connections as there are calls: what is measured is not the queue for them."""
    size = len(CALLS)
    database = Database(url, role=API_ROLE, patience=PATIENCE, pool_size=size)
    reads = ReadPool(url, role=API_ROLE, patience=PATIENCE)
    await reads.open()
    yield Away(database, reads)
    await reads.close()
    await database.close()


@pytest.fixture
async def silent_url() -> AsyncIterator[str]:
    """Of a server that takes connections and never says a word."""
    hold = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/none"
    hold.set()
    server.close()


def test_every_route_is_asked() -> None:
    assert len(CALLS) > 60
    assert len({call.name for call in CALLS}) == len(CALLS)


async def test_without_postgresql_every_route_says_to_come_back(app: FastAPI) -> None:
    async with database_at(NOWHERE) as away:
        told = await ask_over(app, away)

    assert [each for each in told if not each.is_unavailable] == []
    assert {each.code for each in told} == {"DATABASE_UNAVAILABLE"}
    assert max(each.seconds for each in told) < ANSWERED_WITHIN


async def test_over_a_postgresql_that_hangs_every_route_says_to_come_back(
    app: FastAPI, silent_url: str
) -> None:
    async with database_at(silent_url) as away:
        told = await ask_over(app, away)

    assert [each for each in told if not each.is_unavailable] == []
    assert max(each.seconds for each in told) < ANSWERED_WITHIN


async def test_postgresql_that_goes_away_behind_the_key_is_said_too(
    app: FastAPI, tenant: Tenant
) -> None:
    async with database_at(NOWHERE) as away:
        resources: Resources = replace(app.state.resources, database=away.database)
        told = await ask_all(resources, tenant.key, tenant.project_id)

    # It asks the way that is left alone.
    others = {each.name.removesuffix("_in_project") for each in told if each.status < 500}
    assert [each for each in told if each.status >= 500 and not each.is_unavailable] == []
    assert others == {"get_campaign"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_without_temporal_no_route_fails(
    app: FastAPI, tenant: Tenant, database: Database, call: Call
) -> None:
    project = ProjectCtx(UUID(tenant.project_id))
    new = NewCampaign(name="Hello", content=Content("Hello", "you", {}))
    async with database.transaction() as conn:
        await campaigns.create(conn, project, new, campaign_id=ID)
    resources: Resources = app.state.resources
    clients = Clients(create_app(replace(resources, temporal=NO_TEMPORAL)), tenant.key)

    told = await ask(call, clients.of(call), tenant.project_id)
    await clients.close()

    assert told.status < 500 or told.is_unavailable, told
    assert told.seconds < ANSWERED_WITHIN
