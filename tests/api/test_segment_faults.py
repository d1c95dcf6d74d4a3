"""What is wrong with rules is said at once: 400 with the path, nothing stored, nothing of SQL."""

import re

import pytest
from httpx import AsyncClient, Response

from tests.api.conftest import own_segments

SQL = re.compile(
    r"select|from app_users|where|psycopg|sqlalchemy|syntax error|::text", re.IGNORECASE
)

LEAF = {"field": "email", "op": "exists"}
MEGABYTE = "x" * 1_000_000


def leaf(field: str, op: str = "exists", *value: object) -> dict[str, object]:
    return {"field": field, "op": op, **({"value": value[0]} if value else {})}


def group(*conditions: object) -> dict[str, object]:
    return {"operator": "AND", "conditions": list(conditions)}


def nested(depth: int) -> object:
    return group(nested(depth - 1)) if depth else LEAF


FAULTS = {
    "unknown field": (leaf("plan_name"), "/field"),
    "unknown column of a known root": (leaf("device.token"), "/field"),
    "unknown operator": (leaf("email", "resembles", "a"), "/op"),
    "within on a text column": (leaf("email", "within", "7d"), "/op"),
    "text where a time belongs": (leaf("created_at", "gt", "soon"), "/value"),
    "number where text belongs": (leaf("email", "eq", 5), "/value"),
    "text where a boolean belongs": (leaf("entitlements.is_active", "eq", "true"), "/value"),
    "object for a value": (leaf("properties.p", "eq", {"a": 1}), "/value"),
    "a value of a megabyte": (leaf("properties.p", "eq", MEGABYTE), "/value"),
    "a field of a megabyte": (leaf(f"properties.{MEGABYTE}"), "/field"),
    "a list of a megabyte": (leaf("properties.p", "in", ["a", MEGABYTE]), "/value/1"),
    "a single quote": (leaf("email'"), "/field"),
    "a double quote": (leaf('email"'), "/field"),
    "a quote in a path": (leaf("properties.a'b"), "/field"),
    "a statement in a path": (leaf("properties.a'); drop table app_users; --"), "/field"),
    "a statement in a field": (leaf("email; drop table app_users"), "/field"),
    "a cast in a path": (leaf("properties.a::text"), "/field"),
    "a prototype": (leaf("properties.__proto__"), "/field"),
    "a prototype further in": (leaf("properties.a.__proto__.b"), "/field"),
    "no path": (leaf("properties."), "/field"),
    "an empty part of a path": (leaf("properties.a..b"), "/field"),
    "an empty part at the end": (leaf("properties.a."), "/field"),
    "101 leaves, the first outside": (group(*[LEAF] * 100), "/conditions/99"),
}


async def _refused(client: AsyncClient, rules: object) -> list[Response]:
    await client.post("/admin/segments", json={"id": "seg_good", "name": "s", "rules": LEAF})
    return [
        await client.post("/admin/segments", json={"id": "seg_bad", "name": "s", "rules": rules}),
        await client.patch("/admin/segments/seg_good", json={"rules": rules}),
        await client.post("/admin/segments/preview", json={"rules": rules}),
        await client.post(
            "/admin/segments",
            json={"name": "s", "rules": rules},
            headers={"Idempotency-Key": "a"},
        ),
    ]


@pytest.mark.parametrize(("rules", "path"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_answered_with_its_path(
    client: AsyncClient, rules: object, path: str
) -> None:
    answers = await _refused(client, group(LEAF, rules))

    errors = [answer.json()["error"] for answer in answers]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert {error["code"] for error in errors} == {"INVALID_SEGMENT_RULES"}
    assert {error["details"]["path"] for error in errors} == {f"/conditions/1{path}"}
    assert not [answer.text for answer in answers if SQL.search(answer.text)]
    assert max(len(answer.content) for answer in answers) < 1_000
    assert [(each["id"], each["rules"]) for each in await own_segments(client)] == [
        ("seg_good", LEAF)
    ]


async def test_six_levels_are_too_deep(client: AsyncClient) -> None:
    answers = await _refused(client, nested(6))

    errors = [answer.json()["error"] for answer in answers]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert {error["code"] for error in errors} == {"SEGMENT_RULES_TOO_DEEP"}
    assert {error["details"]["path"] for error in errors} == {"/conditions/0" * 5}
    assert len(await own_segments(client)) == 1


@pytest.mark.parametrize("rules", [None, [], "email", 5, True])
async def test_rules_are_an_object(client: AsyncClient, rules: object) -> None:
    answers = await _refused(client, rules)

    errors = [answer.json()["error"] for answer in answers]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert {error["details"]["fields"][0]["path"] for error in errors} == {"body.rules"}


async def test_a_field_that_is_nearly_right_comes_with_the_right_one(client: AsyncClient) -> None:
    answers = await _refused(client, leaf("last_seen"))

    suggestions = [answer.json()["error"]["details"]["suggestion"] for answer in answers]
    assert suggestions == ["last_seen_at"] * 4
