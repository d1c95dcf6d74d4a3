"""Alive, ready, described."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from api.app import create_app
from api.gate import Gate
from api.recent import Recent
from api.resources import Resources
from fanfare.db import migrate
from fanfare.db.engine import Database
from fanfare.dev import postgres
from fanfare.readiness import (
    NotReady,
    database_check,
    newest_revision,
    problems_of,
    schema_check,
)
from tests.api.conftest import KEY_RING, NO_READS, NO_TEMPORAL, Tenant, open_client

OK = {"state": "ok", "reason": None}


def failing(reason: str) -> dict[str, str]:
    return {"state": "failing", "reason": reason}


async def test_ready_when_database_and_schema_are(client: AsyncClient) -> None:
    answer = await client.get("/readyz")

    ready = answer.json()
    assert ready["status"] == "ok"
    assert ready["checks"] == {"postgres": OK, "schema": OK}
    assert ready["workers"].keys() == {"live", "in_trouble", "heard_at"}


async def test_not_ready_but_alive_without_the_database() -> None:
    nowhere = Database("postgresql://fanfare@127.0.0.1:1/none")
    checks = {"postgres": database_check(nowhere)}
    app = create_app(
        Resources(
            database=nowhere,
            reads=NO_READS,
            temporal=NO_TEMPORAL,
            key_ring=KEY_RING,
            pepper=b"",
            readiness_checks=checks,
        ),
    )

    async with open_client(app, None) as client:
        ready = await client.get("/readyz")
        alive = await client.get("/healthz")
    await nowhere.close()

    assert [ready.status_code, alive.status_code] == [503, 200]
    assert ready.headers["Retry-After"] == "5"
    assert ready.json()["checks"] == {"postgres": failing("PostgreSQL does not answer.")}
    assert ready.json()["workers"] is None


async def test_not_ready_over_a_database_without_the_schema(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "api_without_schema")
    url = postgres.url(postgres_port, "api_without_schema")
    empty = Database(url)
    checks = {"postgres": database_check(empty), "schema": schema_check(empty, url)}
    app = create_app(
        Resources(
            database=empty,
            reads=NO_READS,
            temporal=NO_TEMPORAL,
            key_ring=KEY_RING,
            pepper=b"",
            readiness_checks=checks,
        ),
    )

    async with open_client(app, None) as client:
        ready = await client.get("/readyz")
    await empty.close()

    assert ready.status_code == 503
    assert ready.json()["checks"] == {
        "postgres": OK,
        "schema": failing("The database has no tables yet: run `python -m fanfare.db.migrate`."),
    }


async def test_not_ready_over_an_older_schema(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "api_with_older_schema")
    url = postgres.url(postgres_port, "api_with_older_schema")
    migrate.upgrade(url, "0004")
    older = Database(url)
    head = newest_revision(url)

    problems = await problems_of({"schema": schema_check(older, url)})
    await older.close()

    assert str(problems["schema"]) == (
        f"The database is at migration 0004, this code needs {head}: "
        "run `python -m fanfare.db.migrate`."
    )


async def test_ready_over_a_newer_schema(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "api_with_newer_schema")
    url = postgres.url(postgres_port, "api_with_newer_schema")
    migrate.upgrade(url)
    newer = Database(url)
    async with newer.transaction() as conn:
        await conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    problems = await problems_of({"schema": schema_check(newer, url)})
    await newer.close()

    assert problems == {}


async def test_pool_without_a_free_connection_is_named(database_url: str) -> None:
    small = Database(database_url, pool_size=1)

    async with small.transaction():
        with pytest.raises(NotReady, match="All connections of this process"):
            await database_check(small)()
    await small.close()


async def test_requests_are_let_in_once_the_gate_is_open(app: FastAPI, tenant: Tenant) -> None:
    gate = Gate(is_open=False)
    starting = create_app(replace(app.state.resources, gate=gate))

    async with open_client(starting, tenant.key) as client:
        refused = await client.get("/admin/push")
        alive = await client.get("/healthz")
        gate.open()
        answered = await client.get("/admin/push")

    assert [refused.status_code, alive.status_code, answered.status_code] == [503, 200, 200]
    assert refused.json()["error"]["code"] == "DATABASE_UNAVAILABLE"
    assert refused.headers["Retry-After"] == "5"


async def test_documentation_needs_no_other_server(client: AsyncClient) -> None:
    pages = [(await client.get(path)).text for path in ("/docs", "/redoc")]

    assert "https://" not in "".join(pages)
    assert (await client.get("/static-offline-docs/swagger-ui.css")).status_code == 200


async def test_operations_have_names_of_their_own(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    operations = [operation for methods in paths.values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {"create_segment", "create_segment_in_project"} <= set(names)


async def test_no_operation_is_described_with_an_error_that_it_does_not_give(
    client: AsyncClient,
) -> None:
    assert "ValidationError" not in (await client.get("/openapi.json")).text


async def test_documentation_begins_with_what_campaigns_are_made_with(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    operations = [operation for methods in paths.values() for operation in methods.values()]
    campaigns = [each["operationId"] for each in operations if each["tags"] == ["campaigns"]]
    assert campaigns[:4] == ["create_campaign", "list_campaigns", "get_campaign", "change_campaign"]
    assert campaigns.index("list_deliveries") < campaigns.index("create_campaign_in_project")


async def test_every_json_body_has_an_example(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for methods in paths.values()
        for operation in methods.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert bodies
    assert [body for body in bodies if not body.get("examples")] == []


async def test_whoever_is_told_that_it_is_ready_is_let_in(app: FastAPI, tenant: Tenant) -> None:
    resources = replace(app.state.resources, gate=Gate(is_open=False), readiness=Recent())

    async with open_client(create_app(resources), tenant.key) as client:
        before = await client.get("/admin/push")
        ready = await client.get("/readyz")
        after = await client.get("/admin/push")

    assert [before.status_code, ready.status_code, after.status_code] == [503, 200, 200]
