"""Alive, ready, described."""

from httpx import AsyncClient

from api.app import create_app
from api.readiness import database_check, schema_check
from api.resources import Resources
from fanfare.db.engine import Database
from fanfare.dev import postgres
from tests.api.conftest import KEY_RING, NO_READS, NO_TEMPORAL, open_client


async def test_ready_when_database_and_schema_are(client: AsyncClient) -> None:
    answer = await client.get("/readyz")

    assert answer.json() == {"status": "ok", "checks": {"postgres": "ok", "schema": "ok"}}


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
    assert ready.json()["checks"] == {"postgres": "failing"}


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
    assert ready.json()["checks"] == {"postgres": "ok", "schema": "failing"}


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
