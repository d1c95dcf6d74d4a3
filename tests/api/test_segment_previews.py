"""Whom rules select now, before anything is saved."""

import pytest
import sqlalchemy as sa
from httpx import AsyncClient
from sqlalchemy.exc import ProgrammingError

from fanfare.db.engine import Database
from fanfare.db.tables import app_users, push_tokens, segment_memberships
from fanfare.segments.compiler import compile_rule
from fanfare.segments.examples import OPERATOR_EXAMPLES
from fanfare.segments.fields import COLUMN_FIELDS
from fanfare.segments.grammar import parse_rules
from tests.api.conftest import Tenant, own_segments

PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}


async def _people(client: AsyncClient, prefix: str, count: int, plan: str) -> None:
    lines = "\n".join(
        f'{{"external_id": "{prefix}-{number}", "properties": {{"plan": "{plan}"}}}}'
        for number in range(count)
    )
    headers = {"Content-Type": "application/x-ndjson"}
    await client.post("/admin/import", content=lines, headers=headers)


async def _preview(client: AsyncClient, rules: object) -> dict[str, object]:
    answer = await client.post("/admin/segments/preview", json={"rules": rules})
    found = answer.json()["data"]
    assert isinstance(found, dict)
    return found


async def test_count_is_exact_and_ten_are_shown(client: AsyncClient) -> None:
    await _people(client, "pro", 12, "pro")
    await _people(client, "free", 5, "free")

    found = (await client.post("/admin/segments/preview", json={"rules": PRO})).json()["data"]

    sample = {each["external_id"] for each in found["sample"]}
    assert found["count"] == 12
    assert len(sample) == 10
    assert sample < {f"pro-{number}" for number in range(12)}
    assert found["sample"][0]["properties"] == {"plan": "pro"}


async def test_rules_that_select_nobody_show_nobody(client: AsyncClient) -> None:
    await _people(client, "free", 5, "free")

    assert await _preview(client, PRO) == {"count": 0, "sample": []}


async def test_nobody_of_another_project_is_counted_or_shown(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await _people(tenant.client, "mine", 1, "pro")
    await _people(other_tenant.client, "theirs", 3, "pro")

    found = (await tenant.client.post("/admin/segments/preview", json={"rules": PRO})).json()

    assert found["data"]["count"] == 1
    assert [each["external_id"] for each in found["data"]["sample"]] == ["mine-0"]


async def test_a_preview_stores_nothing(client: AsyncClient) -> None:
    await _people(client, "pro", 1, "pro")

    await _preview(client, PRO)

    assert await own_segments(client) == []


@pytest.mark.parametrize("rules", [each.rules for each in OPERATOR_EXAMPLES.values()])
async def test_every_operator_may_be_previewed(client: AsyncClient, rules: object) -> None:
    answer = await client.post("/admin/segments/preview", json={"rules": rules})

    assert answer.json()["data"] == {"count": 0, "sample": []}


@pytest.mark.parametrize("field", [*COLUMN_FIELDS, "properties.a"])
async def test_whoever_evaluates_rules_may_read_every_field_of_them(
    api_database: Database, field: str
) -> None:
    rule = compile_rule(parse_rules({"field": field, "op": "exists"}))

    async with api_database.audience() as conn:
        query = sa.select(sa.func.count()).select_from(app_users).where(sa.false(), rule)
        found = (await conn.execute(query)).scalar_one()

    assert found == 0


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(push_tokens.c.token),
        sa.select(segment_memberships.c.app_user_id),
        sa.delete(app_users),
        sa.text("SELECT id FROM api_keys"),
        sa.text("SELECT id FROM projects"),
    ],
)
async def test_whoever_evaluates_rules_reads_no_more_and_writes_nothing(
    api_database: Database, statement: sa.Executable
) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with api_database.audience() as conn:
            await conn.execute(statement)


async def test_after_a_preview_the_connection_is_behind_the_wall_again(
    database_url: str,
) -> None:
    one_connection = Database(database_url, role="fanfare_api", pool_size=1)
    role = sa.text("SELECT current_user")

    async with one_connection.audience() as conn:
        during = (await conn.execute(role)).scalar_one()
    async with one_connection.transaction() as conn:
        after = (await conn.execute(role)).scalar_one()
    await one_connection.close()

    assert (during, after) == ("fanfare_audience", "fanfare_api")
