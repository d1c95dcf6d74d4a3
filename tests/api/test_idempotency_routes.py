"""Which routes take an Idempotency-Key: every POST but for those named here."""

from collections.abc import Mapping
from typing import Any

import pytest
from httpx import AsyncClient

from api.app import create_app
from api.resources import Resources
from fanfare.db.engine import Database
from tests.api.conftest import KEY_RING, NO_READS, NO_TEMPORAL, Tenant

# By the names of their operations: why they take none.
UNKEYED = {
    "import_users": "reads its body piece by piece; harmless to repeat",
    "preview_segment": "stores and starts nothing; its answer has people in it",
    "preview_campaign": "stores and starts nothing; each answer is of its own moment",
}

_SCHEMA = create_app(
    Resources(
        database=Database("postgresql://nowhere"),
        reads=NO_READS,
        temporal=NO_TEMPORAL,
        key_ring=KEY_RING,
        pepper=b"p" * 32,
    ),
).openapi()
_POSTS: Mapping[str, Mapping[str, Any]] = {  # Any: JSON
    path: methods["post"] for path, methods in _SCHEMA["paths"].items() if "post" in methods
}


def _name(path: str) -> str:
    return str(_POSTS[path]["operationId"]).removesuffix("_in_project")


_KEYED = [path for path in _POSTS if _name(path) not in UNKEYED]


@pytest.mark.parametrize("path", _KEYED)
async def test_every_post_acts_on_its_key(tenant: Tenant, operator: AsyncClient, path: str) -> None:
    caller = {"/admin/projects": operator}.get(path, tenant.client)
    key = {"Idempotency-Key": "x" * 256}

    answer = await caller.post(
        path.replace("{project_id}", tenant.project_id), json={}, headers=key
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"][0]["path"] == "header.Idempotency-Key"


@pytest.mark.parametrize("path", _POSTS)
def test_description_offers_the_key_where_it_is_taken(path: str) -> None:
    offered = {parameter["name"] for parameter in _POSTS[path].get("parameters", ())}

    assert ("Idempotency-Key" in offered) is (path in _KEYED)


def test_what_is_named_as_taking_no_key_is_there() -> None:
    assert UNKEYED.keys() <= set(map(_name, _POSTS))
