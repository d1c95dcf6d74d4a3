"""Test pushes and tests of credentials: the provider's own word, for each device."""

import json
from uuid import UUID

import httpx

from fanfare.dev.reconciliation import read_account
from fanfare.dev.stack import Stack
from tests.e2e.waiting import until_status

HELLO = {"title": "Hello from staging", "body": "Does it arrive?"}


def register_device(http: httpx.Client, user: str, token: str, platform: str) -> None:
    answer = http.post(
        f"/admin/users/{user}/push-tokens", json={"token": token, "platform": platform}
    )
    assert answer.status_code == 201, answer.text


def user_id(http: httpx.Client, external_id: str) -> str:
    return str(http.get(f"/admin/users/{external_id}").json()["data"]["id"])


def test_it_goes_to_every_active_device_of_a_user(stack: Stack, http: httpx.Client) -> None:
    register_device(http, "ada", "c1" * 32, "ios")
    register_device(http, "ada", "fcm-device-of-ada", "android")
    register_device(http, "ada", "dead" + "c2" * 30, "ios")

    answer = http.post("/admin/push/test", json={**HELLO, "app_user_id": user_id(http, "ada")})

    assert answer.status_code == 200, answer.text
    devices = answer.json()["data"]["devices"]
    found = {(one["provider"], one["status"], one["reason"]) for one in devices}
    assert found == {
        ("apns", "sent", None),
        ("fcm", "sent", None),
        ("apns", "failed", "Unregistered"),
    }


def test_it_goes_to_the_newest_device_only(http: httpx.Client) -> None:
    register_device(http, "bob", "b1" * 32, "ios")
    register_device(http, "bob", "b2" * 32, "ios")

    answer = http.post(
        "/admin/push/test",
        json={**HELLO, "app_user_id": user_id(http, "bob"), "newest_only": True},
    )

    assert [one["token_ends_in"] for one in answer.json()["data"]["devices"]] == ["b2b2b2"]


def test_it_goes_to_a_token_that_nobody_registered(http: httpx.Client) -> None:
    answer = http.post(
        "/admin/push/test",
        json={**HELLO, "device_token": "<C3C3 " + "c3" * 30 + ">", "provider": "apns"},
    )

    (device,) = answer.json()["data"]["devices"]
    assert device["status"] == "sent"
    assert str(UUID(device["provider_message_id"])) == device["provider_message_id"]


def test_a_user_without_a_device_is_422(http: httpx.Client) -> None:
    http.put("/admin/users/nobody", json={})

    answer = http.post("/admin/push/test", json={**HELLO, "app_user_id": user_id(http, "nobody")})

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "NO_ACTIVE_TOKENS"


def test_credentials_that_the_provider_takes_are_ok(http: httpx.Client) -> None:
    answers = {
        provider: http.post(f"/admin/credentials/{provider}/test").json()["data"]
        for provider in ("apns", "fcm")
    }

    assert {provider: found["status"] for provider, found in answers.items()} == {
        "apns": "ok",
        "fcm": "ok",
    }
    shown = http.get("/admin/credentials/apns").json()["data"]
    assert shown["status"] == "ok"


def test_credentials_of_another_team_are_refused(stack: Stack, http: httpx.Client) -> None:
    account = json.loads((stack.account / "account.json").read_text())
    key_p8 = (stack.account / "AuthKey.p8").read_text()
    http.put(
        "/admin/credentials/apns",
        json={
            "team_id": "ZZZZZ00000",
            "key_id": account["key_id"],
            "bundle_id": account["bundle_id"],
            "key_p8": key_p8,
        },
    )

    found = http.post("/admin/credentials/apns/test").json()["data"]

    assert found == {"status": "refused", "reason": "InvalidProviderToken"}


def test_a_campaign_with_refused_credentials_fails_and_resumes_with_what_it_owes(
    stack: Stack, http: httpx.Client
) -> None:
    register_device(http, "eve", "e1" * 32, "ios")
    account = json.loads((stack.account / "account.json").read_text())
    good = {
        "team_id": account["team_id"],
        "key_id": account["key_id"],
        "bundle_id": account["bundle_id"],
        "key_p8": (stack.account / "AuthKey.p8").read_text(),
    }
    http.put("/admin/credentials/apns", json={**good, "team_id": "ZZZZZ00000"})
    created = http.post("/admin/push", json=HELLO).json()["data"]

    http.post(f"/admin/push/{created['id']}/send")
    failed = until_status(http, created["id"], "failed")
    http.put("/admin/credentials/apns", json=good)
    http.post(f"/admin/push/{created['id']}/send")
    sent = until_status(http, created["id"], "sent")

    assert failed["failure"]["code"] == "CREDENTIALS_REFUSED"
    assert failed["stats"]["pending"] == 1
    assert sent["stats"]["sent"] == 1
    assert read_account(stack.simulator_url, str(UUID(created["id"]))).stats.accepted == 1
