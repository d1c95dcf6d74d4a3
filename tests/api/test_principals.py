"""Who may call what."""

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI
from httpx import AsyncClient

from api.app import create_app
from api.resources import Resources
from api.routing import GuardedRoute, RouteWithoutScope
from fanfare import api_keys
from fanfare.db import tables
from fanfare.db.engine import Database
from tests.api.conftest import (
    KEY_RING,
    NO_READS,
    NO_TEMPORAL,
    OPERATOR_KEY,
    Tenant,
    open_client,
    restricted,
)

_SCHEMA = create_app(
    Resources(
        database=Database("postgresql://nowhere"),
        reads=NO_READS,
        temporal=NO_TEMPORAL,
        key_ring=KEY_RING,
        pepper=b"p" * 32,
    ),
).openapi()
_OPERATIONS = [
    (method.upper(), path.replace("{project_id}", "01900000-0000-7000-8000-000000000000"))
    for path, methods in _SCHEMA["paths"].items()
    for method in methods
    if path.startswith(("/admin", "/v1"))
]
_LONG_DOOR = [(method, path) for method, path in _OPERATIONS if path.startswith("/v1")]


@pytest.mark.parametrize(("method", "path"), _OPERATIONS)
async def test_every_operation_refuses_a_caller_without_a_key(
    app: FastAPI, method: str, path: str
) -> None:
    async with open_client(app, None) as client:
        answer = await client.request(method, path)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), _LONG_DOOR)
async def test_every_operation_refuses_the_path_of_another_project(
    client: AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "PROJECT_FORBIDDEN"


@pytest.mark.parametrize(
    ("method", "path"), [each for each in _LONG_DOOR if "/keys" not in each[1]]
)
async def test_operator_enters_no_project(operator: AsyncClient, method: str, path: str) -> None:
    answer = await operator.request(method, path)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, path)
        for method, path in _OPERATIONS
        if path.startswith("/admin") and "push-tokens" not in path
    ],
)
async def test_client_key_may_call_the_token_routes_only(
    app: FastAPI, tenant: Tenant, method: str, path: str
) -> None:
    async with await restricted(app, tenant, "devices:register") as phone:
        answer = await phone.request(method, path)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "FORBIDDEN"


async def test_client_key_registers_and_returns_a_token(app: FastAPI, tenant: Tenant) -> None:
    async with await restricted(app, tenant, "devices:register") as phone:
        made = await phone.post(
            "/admin/users/u/push-tokens", json={"token": "abcd", "platform": "ios"}
        )
        gone = await phone.delete("/admin/users/u/push-tokens/abcd")
        listed = await phone.get("/admin/users/u/push-tokens")

    assert [made.status_code, gone.status_code, listed.status_code] == [201, 204, 403]


def test_route_without_a_scope_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)

    with pytest.raises(RouteWithoutScope):
        router.add_api_route("/open", lambda: None)


@pytest.mark.parametrize(
    "text", ["", "Bearer", "Basic abc", "Bearer nonsense", f"Bearer pk_abcdefgh_{'x' * 43}"]
)
async def test_bad_key_is_unauthorized(app: FastAPI, text: str) -> None:
    async with open_client(app, None) as client:
        answer = await client.get("/admin/users", headers={"Authorization": text})

    assert answer.status_code == 401


async def test_wrong_secret_for_a_known_id_is_unauthorized(app: FastAPI, tenant: Tenant) -> None:
    wrong = tenant.key[:-10] + "0" * 10

    async with open_client(app, wrong) as client:
        answer = await client.get("/admin/users")

    assert answer.status_code == 401


async def test_revoked_key_is_refused_at_once(app: FastAPI, tenant: Tenant) -> None:
    made = await tenant.client.post("/admin/keys", json={"name": "k", "scopes": ["admin"]})
    key = made.json()["data"]
    await tenant.client.delete(f"/admin/keys/{key['id']}")

    async with open_client(app, key["secret"]) as client:
        answer = await client.get("/admin/users")

    assert answer.status_code == 401


async def test_expired_key_is_refused(app: FastAPI, tenant: Tenant) -> None:
    past = "2026-01-01T00:00:00Z"

    async with await restricted(app, tenant, "admin", expires_at=past) as client:
        answer = await client.get("/admin/users")

    assert answer.status_code == 401


async def test_scope_that_is_missing_is_named(app: FastAPI, tenant: Tenant) -> None:
    async with await restricted(app, tenant, "audience:read") as client:
        answer = await client.put("/admin/users/u", json={})

    assert answer.status_code == 403
    assert answer.json()["error"]["details"] == {"scopes": ["audience:write"]}


async def test_use_of_a_key_is_noted_once_a_minute(tenant: Tenant, api_database: Database) -> None:
    key_id = tenant.key.split("_")[1]
    seen = sa.text("SELECT last_used_at FROM api_keys WHERE id = :id")

    await tenant.client.get("/admin/users")
    async with api_database.transaction() as conn:
        first = await conn.scalar(seen, {"id": key_id})
    await tenant.client.get("/admin/users")
    async with api_database.transaction() as conn:
        second = await conn.scalar(seen, {"id": key_id})

    assert first is not None
    assert first == second


async def test_key_cannot_give_more_than_it_has(app: FastAPI, tenant: Tenant) -> None:
    async with await restricted(app, tenant, "keys:write", "audience:read") as client:
        less = await client.post("/admin/keys", json={"name": "k", "scopes": ["audience:read"]})
        more = await client.post("/admin/keys", json={"name": "k", "scopes": ["admin"]})

    assert [less.status_code, more.status_code] == [201, 403]


async def test_no_key_of_a_project_becomes_an_operator(client: AsyncClient) -> None:
    answer = await client.post("/admin/keys", json={"name": "k", "scopes": ["operator"]})

    assert answer.status_code == 400


async def test_operator_makes_a_key_for_a_project(operator: AsyncClient, tenant: Tenant) -> None:
    made = await operator.post(f"{tenant.door}/keys", json={"name": "k", "scopes": ["admin"]})

    assert made.status_code == 201
    assert made.json()["data"]["project_id"] == tenant.project_id


async def test_operator_cannot_make_a_key_for_no_project(operator: AsyncClient) -> None:
    door = "/v1/admin/projects/01900000-0000-7000-8000-000000000000"

    nowhere = await operator.post(f"{door}/keys", json={"name": "k", "scopes": ["admin"]})
    nobody = await operator.post("/admin/keys", json={"name": "k", "scopes": ["admin"]})

    assert [nowhere.status_code, nobody.status_code] == [404, 403]


@pytest.mark.parametrize(("scope", "status"), [("operator", 200), ("audience:read", 403)])
async def test_stored_key_without_a_project_is_an_operators_or_nobodys(
    app: FastAPI, database: Database, scope: str, status: int
) -> None:
    minted = api_keys.mint(b"p" * 32)
    columns = {"id": minted.id, "secret_hash": minted.secret_hash, "scopes": [scope]}
    async with database.transaction() as conn:
        await conn.execute(sa.insert(tables.api_keys).values(name="operator", **columns))

    async with open_client(app, minted.text) as client:
        projects = await client.get("/admin/projects")
        users = await client.get("/admin/users")

    assert [projects.status_code, users.status_code] == [status, 403]


async def test_list_of_keys_shows_no_secret(tenant: Tenant) -> None:
    answer = await tenant.client.get("/admin/keys")

    assert tenant.key not in answer.text
    assert "secret" not in answer.text


async def test_own_project_and_all_projects(operator: AsyncClient, tenant: Tenant) -> None:
    own = await tenant.client.get("/admin/project")
    newest = await operator.get("/admin/projects", params={"limit": 1})
    one = await operator.get(f"/admin/projects/{tenant.project_id}")
    refused = await tenant.client.get("/admin/projects")

    assert own.json()["data"]["id"] == tenant.project_id
    assert newest.json()["data"][0]["id"] == tenant.project_id
    assert one.json() == own.json()
    assert refused.status_code == 403
    assert OPERATOR_KEY not in one.text
