"""What a project has set for itself, and who may change it."""

from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from fanfare.db import projects
from fanfare.db.engine import Database
from fanfare.ids import new_id
from tests.api.conftest import Tenant, restricted

SETTINGS = {"timezone": "Europe/Berlin", "rate_limit": 600_000, "confirm_above": 0}
DEFAULTS = {"timezone": "UTC", "rate_limit": None, "confirm_above": None}
DOORS = ["/admin/project", "{door}/project"]


def _settings(project: dict[str, object]) -> dict[str, object]:
    return {name: project[name] for name in SETTINGS}


async def test_a_project_begins_without_settings(client: AsyncClient) -> None:
    found = (await client.get("/admin/project")).json()["data"]

    assert _settings(found) == DEFAULTS


async def test_a_project_can_be_made_with_settings(operator: AsyncClient) -> None:
    made = await operator.post("/admin/projects", json={"name": "x", **SETTINGS})

    assert made.status_code == 201
    assert _settings(made.json()["data"]["project"]) == SETTINGS


@pytest.mark.parametrize("door", DOORS)
async def test_a_project_changes_its_own_settings(tenant: Tenant, door: str) -> None:
    path = door.format(door=tenant.door)

    changed = await tenant.client.patch(path, json={"name": "Acme 2", **SETTINGS})
    found = await tenant.client.get(path)

    assert changed.status_code == 200
    assert changed.json() == found.json()
    assert found.json()["data"]["name"] == "Acme 2"
    assert _settings(found.json()["data"]) == SETTINGS


async def test_an_operator_changes_any_project(operator: AsyncClient, tenant: Tenant) -> None:
    path = f"/admin/projects/{tenant.project_id}"

    changed = (await operator.patch(path, json=SETTINGS)).json()["data"]

    assert _settings(changed) == SETTINGS
    assert changed["updated_at"] > changed["created_at"]
    assert changed == (await operator.get(path)).json()["data"]


async def test_what_is_left_out_stays_and_null_takes_away(client: AsyncClient) -> None:
    await client.patch("/admin/project", json=SETTINGS)

    nothing = await client.patch("/admin/project", json={})
    unlimited = await client.patch("/admin/project", json={"rate_limit": None})

    assert _settings(nothing.json()["data"]) == SETTINGS
    assert _settings(unlimited.json()["data"]) == {**SETTINGS, "rate_limit": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", None),
        ("timezone", "Berlin"),
        ("timezone", None),
        ("rate_limit", 0),
        ("rate_limit", 100_000_001),
        ("confirm_above", -1),
        ("confirm_above", 2**31),
        ("plan", "pro"),
    ],
)
async def test_settings_that_mean_nothing_are_refused(
    client: AsyncClient, name: str, value: object
) -> None:
    answer = await client.patch("/admin/project", json={name: value})

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"][0]["path"] == f"body.{name}"


@pytest.mark.parametrize(("scope", "status"), [("admin", 200), ("campaigns:send", 403)])
async def test_only_an_administrator_changes_settings(
    app: FastAPI, tenant: Tenant, scope: str, status: int
) -> None:
    async with await restricted(app, tenant, scope) as client:
        answer = await client.patch("/admin/project", json={"confirm_above": None})

    assert answer.status_code == status


async def test_no_project_changes_another(tenant: Tenant, other_tenant: Tenant) -> None:
    by_id = await tenant.client.patch(f"/admin/projects/{other_tenant.project_id}", json=SETTINGS)
    by_door = await tenant.client.patch(f"{other_tenant.door}/project", json=SETTINGS)
    found = await other_tenant.client.get("/admin/project")

    assert [by_id.status_code, by_door.status_code] == [403, 403]
    assert _settings(found.json()["data"]) == DEFAULTS


async def test_a_project_that_is_not_there_cannot_be_changed(operator: AsyncClient) -> None:
    answer = await operator.patch(f"/admin/projects/{uuid4()}", json=SETTINGS)

    assert answer.status_code == 404


async def test_making_a_project_twice_under_one_id_finds_it(api_database: Database) -> None:
    project_id: UUID = new_id()

    async with api_database.transaction() as conn:
        first = await projects.create(conn, "one", project_id=project_id)
    async with api_database.transaction() as conn:
        second = await projects.create(conn, "two", project_id=project_id)

    assert first == second
