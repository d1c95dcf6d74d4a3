"""FCM v1 and the token endpoint in front of it, over HTTP/2 and HTTP/1.1."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import orjson
import pytest

from fanfare.dev.simulator import Simulator
from tests.dev.conftest import Sender, fcm_body
from tests.dev.simulator_client import SimulatorClient

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=simulator.ca_file)
    async with httpx.AsyncClient(base_url=simulator.url, verify=context) as client:
        yield client


@pytest.fixture
async def bearer(http: httpx.AsyncClient, sender: Sender) -> dict[str, str]:
    form = {"grant_type": GRANT, "assertion": sender.assertion()}
    granted = (await http.post("/token", data=form)).json()
    return {"authorization": f"Bearer {granted['access_token']}"}


async def test_assertion_of_google_auth_is_granted_a_token(
    http: httpx.AsyncClient, sender: Sender
) -> None:
    form = {"grant_type": GRANT, "assertion": sender.assertion()}

    answer = await http.post("/token", data=form)

    assert answer.status_code == 200
    assert (answer.json()["expires_in"], answer.json()["token_type"]) == (3599, "Bearer")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "someone@else"}, "invalid_grant"),
        ({"aud": "https://example.com/token"}, "invalid_grant"),
        ({"exp": 1}, "invalid_grant"),
        ({"scope": "email"}, "invalid_scope"),
    ],
)
async def test_assertion_with_wrong_claims_is_refused(
    http: httpx.AsyncClient, sender: Sender, changes: dict[str, object], code: str
) -> None:
    claims = jwt.decode(sender.assertion(), options={"verify_signature": False}) | changes
    key = sender.account.service_account["private_key"]
    form = {"grant_type": GRANT, "assertion": jwt.encode(claims, key, algorithm="RS256")}

    answer = await http.post("/token", data=form)

    assert (answer.status_code, answer.json()["error"]) == (400, code)


async def test_forged_assertion_is_refused(http: httpx.AsyncClient, sender: Sender) -> None:
    head, claims, signature = sender.assertion().split(".")
    forged = f"{head}.{claims}.{signature[::-1]}"

    answer = await http.post("/token", data={"grant_type": GRANT, "assertion": forged})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_other_grant_types_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/token", data={"grant_type": "password"})

    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


async def test_valid_message_is_accepted_over_http2(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    answer = await client.post(sender.fcm_path, bearer, fcm_body())

    assert answer.status == 200
    assert str(answer.json["name"]).startswith("projects/fanfare-demo/messages/0:")


async def test_valid_message_is_accepted_over_http1(
    simulator: Simulator, http: httpx.AsyncClient, sender: Sender, bearer: dict[str, str]
) -> None:
    answer = await http.post(sender.fcm_path, headers=bearer, content=fcm_body())

    assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
    assert next(simulator.ledger.acceptances()).message_id == answer.json()["name"]


async def test_dry_run_is_answered_and_not_recorded(
    simulator: Simulator, client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    body = orjson.dumps(orjson.loads(fcm_body()) | {"validate_only": True})

    answer = await client.post(sender.fcm_path, bearer, body)

    assert answer.json == {"name": "projects/fanfare-demo/messages/fake_message_id"}
    assert len(simulator.ledger) == 0


async def test_unknown_access_token_is_unauthenticated(
    client: SimulatorClient, sender: Sender
) -> None:
    answer = await client.post(sender.fcm_path, {"authorization": "Bearer ya29.x"}, fcm_body())

    assert (answer.status, _error(answer.json)["status"]) == (401, "UNAUTHENTICATED")
    assert "details" not in _error(answer.json)


async def test_access_token_survives_a_restart(
    simulator: Simulator, sender: Sender, bearer: dict[str, str]
) -> None:
    async with Simulator.start(directory=simulator.account.directory) as restarted:
        client = await SimulatorClient.connect(restarted.url, restarted.ca_file)
        answer = await client.post(sender.fcm_path, bearer, fcm_body())
        client.close()

    assert answer.status == 200


async def test_another_project_is_denied(client: SimulatorClient, bearer: dict[str, str]) -> None:
    answer = await client.post("/v1/projects/other/messages:send", bearer, fcm_body())

    assert (answer.status, _error(answer.json)["status"]) == (403, "PERMISSION_DENIED")


async def test_unknown_path_is_not_found_without_an_fcm_error(
    client: SimulatorClient, bearer: dict[str, str]
) -> None:
    answer = await client.post("/v1/projects/other/messages", bearer, fcm_body())

    assert (answer.status, "details" in _error(answer.json)) == (404, False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"token": "bad0"}, "message.token"),
        ({"token": "not a token"}, "message.token"),
        ({"topic": "news"}, "message"),
        ({"data": {"count": 1}}, "message.data.count"),
        ({"data": {"from": "me"}}, "message.data.from"),
        ({"data": {"google.x": "me"}}, "message.data.google.x"),
        ({"android": {"ttl": "1 hour"}}, "message.android.ttl"),
        ({"android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"android": {"priority": "urgent"}}, "message.android.priority"),
        ({"colour": "red"}, "message.colour"),
    ],
)
async def test_invalid_message_is_refused_at_its_field(
    client: SimulatorClient,
    sender: Sender,
    bearer: dict[str, str],
    changes: dict[str, object],
    field: str,
) -> None:
    answer = await client.post(sender.fcm_path, bearer, fcm_body(**changes))

    error = _error(answer.json)
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0] == {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}
    assert error["details"][1]["fieldViolations"][0]["field"] == field


async def test_message_without_a_target_is_refused(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    body = orjson.dumps({"message": {"notification": {"title": "Sale"}}})

    answer = await client.post(sender.fcm_path, bearer, body)

    assert answer.status == 400
    assert _error(answer.json)["details"][1]["fieldViolations"][0]["field"] == "message"


async def test_field_is_taken_by_either_of_its_names(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    body = fcm_body(android={"collapseKey": "a", "restricted_package_name": "b"})

    answer = await client.post(sender.fcm_path, bearer, body)

    assert answer.status == 200


async def test_malformed_token_is_told_by_its_text(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    answer = await client.post(sender.fcm_path, bearer, fcm_body("bad0"))

    assert "not a valid FCM registration token" in _error(answer.json)["message"]


@pytest.mark.parametrize("body", [b"{", fcm_body(data={"text": "x" * 4096})])
async def test_unreadable_or_too_big_body_is_refused_without_details(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str], body: bytes
) -> None:
    answer = await client.post(sender.fcm_path, bearer, body)

    assert (answer.status, "details" in _error(answer.json)) == (400, False)


async def test_dead_token_is_unregistered(
    client: SimulatorClient, sender: Sender, bearer: dict[str, str]
) -> None:
    answer = await client.post(sender.fcm_path, bearer, fcm_body("dead-phone"))

    error = _error(answer.json)
    assert (answer.status, error["status"]) == (404, "NOT_FOUND")
    assert error["details"] == [{"@type": FCM_ERROR, "errorCode": "UNREGISTERED"}]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [("429a-phone", 429, "QUOTA_EXCEEDED"), ("503a-phone", 503, "UNAVAILABLE")],
)
async def test_passing_trouble_shows_once(
    client: SimulatorClient,
    sender: Sender,
    bearer: dict[str, str],
    token: str,
    status: int,
    code: str,
) -> None:
    first = await client.post(sender.fcm_path, bearer, fcm_body(token))
    second = await client.post(sender.fcm_path, bearer, fcm_body(token))

    assert (first.status, first.headers["retry-after"], second.status) == (status, "2", 200)
    assert _error(first.json)["details"][0]["errorCode"] == code


@pytest.mark.parametrize(
    ("status", "reason", "word"),
    [
        (403, "SENDER_ID_MISMATCH", "PERMISSION_DENIED"),
        (401, "THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED"),
        (500, "INTERNAL", "INTERNAL"),
    ],
)
async def test_scripted_error_has_googles_shape(
    simulator: Simulator,
    client: SimulatorClient,
    sender: Sender,
    bearer: dict[str, str],
    status: int,
    reason: str,
    word: str,
) -> None:
    simulator.script([{"answer": {"status": status, "reason": reason}}])

    answer = await client.post(sender.fcm_path, bearer, fcm_body())

    assert (answer.status, _error(answer.json)["status"]) == (status, word)
    assert _error(answer.json)["details"][0]["errorCode"] == reason


async def test_token_endpoint_can_be_scripted(
    simulator: Simulator, http: httpx.AsyncClient, sender: Sender
) -> None:
    simulator.script([{"match": {"provider": "oauth"}, "answer": {"status": 500}}])

    answer = await http.post("/token", data={"grant_type": GRANT, "assertion": sender.assertion()})

    assert (answer.status_code, answer.json()["error"]) == (500, "internal_failure")


def _error(answer: dict[str, object]) -> Any:  # Any: a JSON object to look into
    return answer["error"]
