"""Device tokens: whose they are, and whether they live."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient

IOS = {"token": "00ff", "platform": "ios"}


async def tokens_of(client: AsyncClient, user: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/admin/users/{user}/push-tokens")
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_token_of_an_unknown_user_creates_the_user(client: AsyncClient) -> None:
    made = await client.post("/admin/users/u/push-tokens", json=IOS)

    assert made.status_code == 201
    user = (await client.get("/admin/users/u")).json()["data"]
    assert user["id"] == made.json()["data"]["app_user_id"]
    assert user["last_seen_at"] is not None


async def test_apns_token_is_stored_in_its_normal_form(client: AsyncClient) -> None:
    made = await client.post("/admin/users/u/push-tokens", json=IOS | {"token": "<00 FF aB 1c>"})

    assert made.json()["data"]["token"] == "00ffab1c"
    assert made.json()["data"]["provider"] == "apns"


@pytest.mark.parametrize(
    "body",
    [
        {"token": "", "platform": "ios"},
        {"token": "abc", "platform": "ios"},
        {"token": "zz", "platform": "ios"},
        {"token": "ab" * 101, "platform": "ios"},
        {"token": "abcd", "platform": "android", "provider": "apns"},
        {"token": "", "platform": "android"},
        {"token": "with space", "platform": "android"},
        {"token": "ünicode", "platform": "android"},
        {"token": "x" * 2_049, "platform": "android"},
        {"token": "ab" * 5_120, "platform": "ios"},
        {"token": "x" * 10_240, "platform": "android"},
        {"token": "\N{BELL}" * 32, "platform": "ios"},
        {"token": "\N{PARTY POPPER}", "platform": "ios"},
        {"token": "\N{PARTY POPPER}", "platform": "android"},
        {"token": "\N{FULLWIDTH LATIN SMALL LETTER A}b", "platform": "ios"},
        {"token": "00\n", "platform": "ios"},
        {"token": "ok\n", "platform": "android"},
        {"token": "c0ffee:APA91b-fcm_token", "platform": "ios"},
    ],
)
async def test_bad_token_is_refused_and_nothing_is_written(
    client: AsyncClient, body: dict[str, str]
) -> None:
    answer = await client.post("/admin/users/u/push-tokens", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_TOKEN"
    assert (await client.get("/admin/users/u")).status_code == 404


async def test_token_with_a_nul_is_refused_and_nothing_is_written(client: AsyncClient) -> None:
    answer = await client.post("/admin/users/u/push-tokens", json=IOS | {"token": "00\0ff"})

    assert answer.status_code == 400
    assert (await client.get("/admin/users/u")).status_code == 404


async def test_refusal_of_a_token_does_not_repeat_it(client: AsyncClient) -> None:
    body = {"token": "no-hex-canary", "platform": "ios"}

    answer = await client.post("/admin/users/u/push-tokens", json=body)

    assert answer.json()["error"]["details"]["fields"][0]["path"] == "body.token"
    assert "canary" not in answer.text


async def test_longest_tokens_are_taken(client: AsyncClient) -> None:
    ios = {"token": "ab" * 100, "platform": "ios"}
    android = {"token": "".join(chr(33 + number * 7 % 94) for number in range(2_048))}

    first = await client.post("/admin/users/u/push-tokens", json=ios)
    second = await client.post("/admin/users/u/push-tokens", json=android | {"platform": "android"})

    assert [first.status_code, second.status_code] == [201, 201]


async def test_token_that_registers_again_keeps_its_row(client: AsyncClient) -> None:
    first = await client.post("/admin/users/u/push-tokens", json=IOS | {"app_version": "1"})

    second = await client.post("/admin/users/u/push-tokens", json=IOS | {"device_model": "X"})

    before, after = first.json()["data"], second.json()["data"]
    assert (after["id"], after["app_version"], after["device_model"]) == (before["id"], "1", "X")
    assert after["registered_at"] > before["registered_at"]


async def test_token_moves_to_the_user_it_comes_back_under(client: AsyncClient) -> None:
    old = (await client.post("/admin/users/a/push-tokens", json=IOS)).json()["data"]

    new = (await client.post("/admin/users/b/push-tokens", json=IOS)).json()["data"]

    assert new["id"] != old["id"]
    left = await tokens_of(client, "a")
    assert [(token["id"], token["deactivated_reason"]) for token in left] == [(old["id"], "moved")]
    assert [token["is_active"] for token in await tokens_of(client, "b")] == [True]


async def test_token_that_moves_to_and_fro_is_active_in_one_place(client: AsyncClient) -> None:
    _ = [await client.post(f"/admin/users/{user}/push-tokens", json=IOS) for user in "ababa"]

    active = [token["is_active"] for user in "ab" for token in await tokens_of(client, user)]
    assert sum(active) == 1


async def test_token_that_two_users_register_at_once_has_one_owner(client: AsyncClient) -> None:
    calls = [client.post(f"/admin/users/{user}/push-tokens", json=IOS) for user in ("a", "b") * 10]

    answers = await asyncio.gather(*calls)

    assert {answer.status_code for answer in answers} == {201}
    active = [token["is_active"] for user in "ab" for token in await tokens_of(client, user)]
    assert sum(active) == 1


async def test_delete_marks_inactive_and_registering_revives(client: AsyncClient) -> None:
    await client.post("/admin/users/u/push-tokens", json=IOS)
    await client.delete("/admin/users/u/push-tokens/00FF")
    deleted = (await tokens_of(client, "u"))[0]

    await client.post("/admin/users/u/push-tokens", json=IOS)

    revived = (await tokens_of(client, "u"))[0]
    assert (deleted["is_active"], deleted["deactivated_reason"]) == (False, "unregistered_by_app")
    assert (revived["is_active"], revived["deactivated_reason"]) == (True, None)


async def test_delete_of_a_token_that_is_anothers_is_not_found(client: AsyncClient) -> None:
    await client.post("/admin/users/a/push-tokens", json=IOS)
    await client.put("/admin/users/b", json={})

    answer = await client.delete("/admin/users/b/push-tokens/00ff")

    assert answer.status_code == 404


async def test_fcm_token_is_production_whatever_is_said(client: AsyncClient) -> None:
    body = {"token": "f:a-b_c", "platform": "android", "environment": "sandbox"}

    made = await client.post("/admin/users/u/push-tokens", json=body)

    assert made.json()["data"]["provider"] == "fcm"
    assert made.json()["data"]["environment"] == "production"
