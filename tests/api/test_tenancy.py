"""What belongs to another project is as if it were not there, whichever way it is named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from httpx import AsyncClient

from fanfare.db.columns import metadata
from fanfare.db.engine import Database
from tests.api import previewing
from tests.api.conftest import Tenant
from tests.api.test_credentials import APNS
from tests.api.test_openapi import DESCRIBED, EXAMPLES

JSON: Final = {"Content-Type": "application/json"}
RULES: Final = {"operator": "AND", "conditions": []}

# What these name is the caller's own, and made where it is not there.
MAKING: Final = {"put_user", "register_token"}
BODIES: Final = {example.name: example.content for example in EXAMPLES}
OPERATIONS: Final = [
    (operation["operationId"], method.upper(), path)
    for path, methods in DESCRIBED["paths"].items()
    for method, operation in methods.items()
    if path.startswith("/admin/") and "{" in path
]
LISTS: Final = [
    path
    for path, methods in DESCRIBED["paths"].items()
    if path.startswith("/admin/")
    and "{" not in path
    and "cursor" in {each["name"] for each in methods.get("get", {}).get("parameters", ())}
    and path != "/admin/projects"
]

Dump = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Holdings:
    """How one names what a project has."""

    project_id: str
    campaign_id: str
    segment_id: str
    key_id: str
    user_id: str
    external_id: str
    token: str
    provider: str
    confirmation: str

    def path(self, template: str) -> str:
        """The path with these in it. A parameter that is not known here is a KeyError."""
        collection = template.removeprefix("/admin/").partition("/")[0]
        return template.format(**self._named()[collection])

    def _named(self) -> Mapping[str, Mapping[str, str]]:
        return {
            "projects": {"id": self.project_id},
            "push": {"id": self.campaign_id},
            "segments": {"id": self.segment_id},
            "keys": {"id": self.key_id},
            "users": {"external_id": self.external_id, "token": self.token},
            "credentials": {"provider": self.provider},
        }


@pytest.fixture
async def theirs(other_tenant: Tenant) -> Holdings:
    """What the other project has: one of each."""
    client = other_tenant.client
    user, token = uuid4().hex, uuid4().hex
    device = {"token": token, "platform": "ios"}
    registered = await client.post(f"/admin/users/{user}/push-tokens", json=device)
    segment = await client.post("/admin/segments", json={"name": "Theirs", "rules": RULES})
    key = await client.post("/admin/keys", json={"name": "Theirs", "scopes": ["admin"]})
    await client.put("/admin/credentials/apns", json=APNS)
    campaign_id = await previewing.draft(client)
    preview = await previewing.preview(client, campaign_id=campaign_id)
    return Holdings(
        project_id=other_tenant.project_id,
        campaign_id=campaign_id,
        segment_id=_data(segment)["id"],
        key_id=_data(key)["id"],
        user_id=_data(registered)["app_user_id"],
        external_id=user,
        token=token,
        provider="apns",
        confirmation=preview["confirmation"]["token"],
    )


def nobodys() -> Holdings:
    """What no project ever had."""
    return Holdings(
        project_id=str(uuid4()),
        campaign_id=str(uuid4()),
        segment_id=f"seg_{uuid4().hex}",
        key_id=uuid4().hex[:8],
        user_id=str(uuid4()),
        external_id=uuid4().hex,
        token=uuid4().hex,
        provider="apns",
        confirmation="x" * 128,
    )


@pytest.mark.parametrize(
    ("operation", "method", "template"), OPERATIONS, ids=[name for name, *_ in OPERATIONS]
)
async def test_path_of_anothers_is_a_path_to_nothing(
    client: AsyncClient,
    theirs: Holdings,
    database: Database,
    operation: str,
    method: str,
    template: str,
) -> None:
    before = await _dump(database, theirs.project_id)
    body = BODIES.get(operation)
    headers = JSON if body else {}

    found = await client.request(method, theirs.path(template), content=body, headers=headers)

    nothing = nobodys()
    missing = await client.request(method, nothing.path(template), content=body, headers=headers)
    assert _told(found, theirs) == _told(missing, nothing)
    assert (found.status_code in {401, 403, 404}) == (operation not in MAKING)
    assert await _dump(database, theirs.project_id) == before


REFERENCES: Final[Sequence[tuple[str, str, Mapping[str, Any]]]] = [
    ("POST", "/admin/push", {"title": "t", "body": "b", "segment_id": "segment_id"}),
    ("POST", "/admin/push/preview", {"campaign_id": "campaign_id"}),
    ("POST", "/admin/push/preview", {"title": "t", "body": "b", "segment_id": "segment_id"}),
    ("POST", "/admin/push/test", {"title": "t", "body": "b", "app_user_id": "user_id"}),
    ("PATCH", "/admin/push/{own}", {"segment_id": "segment_id"}),
]
QUERIES: Final = [
    ("/admin/users", "segment_id", "segment_id"),
    ("/admin/users", "q", "external_id"),
    ("/admin/push", "segment_id", "segment_id"),
    ("/admin/push/{own}/deliveries", "app_user_id", "user_id"),
    ("/admin/push/{own}/deliveries", "external_id", "external_id"),
]


@pytest.mark.parametrize(("method", "path", "body"), REFERENCES)
async def test_body_that_names_anothers_names_nothing(
    client: AsyncClient,
    theirs: Holdings,
    database: Database,
    method: str,
    path: str,
    body: Mapping[str, Any],  # Any: JSON
) -> None:
    before = await _dump(database, theirs.project_id)
    await client.patch("/admin/project", json={"confirm_above": 0})
    own = path.format(own=await previewing.draft(client))

    found = await client.request(method, own, json=_filled(body, theirs))

    nothing = nobodys()
    missing = await client.request(method, own, json=_filled(body, nothing))
    assert _told(found, theirs) == _told(missing, nothing)
    assert not found.is_success
    assert await _dump(database, theirs.project_id) == before


async def test_confirmation_of_anothers_confirms_nothing(
    client: AsyncClient, theirs: Holdings
) -> None:
    await client.patch("/admin/project", json={"confirm_above": 0})
    await previewing.people(client, 1)
    own = await previewing.draft(client)

    answer = await client.post(
        f"/admin/push/{own}/send", json={"confirmation": theirs.confirmation}
    )

    assert answer.status_code == 409
    assert answer.json()["error"]["details"]["reason"] == "other_campaign"


@pytest.mark.parametrize(("path", "name", "value"), QUERIES)
async def test_query_that_names_anothers_finds_nothing(
    client: AsyncClient, theirs: Holdings, path: str, name: str, value: str
) -> None:
    own = path.format(own=await previewing.draft(client))

    found = await client.get(own, params={name: getattr(theirs, value)})

    nothing = nobodys()
    missing = await client.get(own, params={name: getattr(nothing, value)})
    assert _told(found, theirs) == _told(missing, nothing)
    assert found.json().get("data", []) == []


@pytest.mark.parametrize("path", LISTS)
async def test_cursor_of_anothers_list_continues_ones_own(
    client: AsyncClient, theirs: Holdings, other_tenant: Tenant, path: str
) -> None:
    await _have_two_of_each(other_tenant.client)
    cursor = (await other_tenant.client.get(path, params={"limit": 1})).json()["next_cursor"]
    others = (await other_tenant.client.get(path)).json()["data"]

    found = await client.get(path, params={"cursor": cursor})

    assert cursor is not None
    assert found.status_code == 200
    assert _own_ids(found.json()["data"]) & _own_ids(others) == set()


async def _have_two_of_each(client: AsyncClient) -> None:
    await client.put(f"/admin/users/{uuid4().hex}", json={})
    await client.post("/admin/segments", json={"name": "More of theirs", "rules": RULES})
    await previewing.draft(client)


def _own_ids(things: Sequence[Mapping[str, Any]]) -> set[str]:  # Any: JSON
    # Every project has segments of the system, of the same ids.
    return {each["id"] for each in things if not each.get("is_system")}


def _filled(body: Mapping[str, Any], holdings: Holdings) -> Mapping[str, Any]:  # Any: JSON
    return {name: getattr(holdings, value, value) for name, value in body.items()}


def _told(answer: httpx.Response, asked: Holdings) -> tuple[int, str]:
    """Status and error, but for the request's id and the id that was asked for."""
    error = answer.json().get("error", {}) if answer.content else {}
    told = str({**error, "request_id": None})
    return answer.status_code, told.replace(asked.campaign_id, "<campaign>")


def _data(answer: httpx.Response) -> Mapping[str, Any]:  # Any: JSON
    assert answer.is_success, answer.text
    found: Mapping[str, Any] = answer.json()["data"]  # Any: JSON
    return found


async def _dump(database: Database, project_id: str) -> Dump:
    """Every row of the project, in every table that has projects' rows."""
    async with database.transaction() as conn:
        return {
            table.name: (await conn.scalars(_rows(table.name), {"id": project_id})).all()
            for table in metadata.sorted_tables
            if "project_id" in table.c
        }


def _rows(table: str) -> sa.TextClause:
    return sa.text(f"SELECT t::text FROM {table} t WHERE project_id = :id ORDER BY 1")
