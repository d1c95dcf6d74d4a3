"""A path names one thing: none by two paths, none by a method that is not its own."""

import pytest
from httpx import AsyncClient

from tests.api.test_openapi import DESCRIBED

IOS = {"token": "00ff", "platform": "ios"}
GUARDED = [
    (operation["operationId"], operation)
    for path, methods in DESCRIBED["paths"].items()
    for operation in methods.values()
    if path.startswith(("/admin/", "/v1/"))
]
WITH_JSON = [
    (name, operation)
    for name, operation in GUARDED
    if "application/json" in operation.get("requestBody", {}).get("content", {})
]


@pytest.mark.parametrize("name", ["u%0A", "%0Au", "u%0Av", "%0A", "u%2Fv", "u%0D%0A"])
async def test_line_feed_is_a_letter_of_an_external_id(client: AsyncClient, name: str) -> None:
    await client.put("/admin/users/u", json={"email": "u@example.com"})

    made = await client.put(f"/admin/users/{name}", json={})
    gone = await client.delete(f"/admin/users/{name}")

    assert [made.status_code, gone.status_code] == [201, 204]
    assert (await client.get("/admin/users/u")).status_code == 200


async def test_line_feed_after_a_token_makes_it_another(client: AsyncClient) -> None:
    await client.post("/admin/users/u/push-tokens", json=IOS)

    answer = await client.delete("/admin/users/u/push-tokens/00ff%0A")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/admin/users/u/push-tokens", "GET, POST"),
        ("DELETE", "/admin/users/u/push-tokens", "GET, POST"),
        ("PUT", "/admin/users/u/push-tokens/00ff", "DELETE"),
        ("GET", "/admin/users/u/entitlements", "PUT"),
        ("POST", "/admin/users/u", "DELETE, GET, PUT"),
        ("PUT", "/admin/segments", "GET, POST"),
        ("PUT", "/admin/segments/seg_x", "DELETE, GET, PATCH"),
        ("POST", "/healthz", "GET"),
    ],
)
async def test_method_that_is_not_there_is_told_which_are(
    client: AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path, json={})

    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed


async def test_no_user_is_made_by_the_path_of_a_users_devices(client: AsyncClient) -> None:
    await client.put("/admin/users/u/push-tokens", json={})

    assert (await client.get("/admin/users")).json()["data"] == []


@pytest.mark.parametrize(("name", "operation"), GUARDED, ids=[name for name, _ in GUARDED])
def test_what_every_operation_may_answer_is_described(
    name: str, operation: dict[str, dict[str, object]]
) -> None:
    assert {"400", "401", "403", "503"} <= operation["responses"].keys()


@pytest.mark.parametrize(("name", "operation"), WITH_JSON, ids=[name for name, _ in WITH_JSON])
def test_what_every_body_may_be_answered_is_described(
    name: str, operation: dict[str, dict[str, object]]
) -> None:
    assert {"413", "415"} <= operation["responses"].keys()
