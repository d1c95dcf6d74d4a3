"""APNs as Apple documents it: every status and reason, over real TLS and HTTP/2."""

import re
import time

import jwt
import pytest

from fanfare.dev.simulator import Simulator
from tests.dev.conftest import Sender, payload
from tests.dev.simulator_client import SimulatorClient

APNS_ID = "7e0e2a0e-0f62-4a0e-9a41-7b5d0a4b1a11"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_valid_notification_is_accepted_and_its_id_echoed(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    answer = await client.post("/3/device/aa11", sender.apns_headers(apns_id=APNS_ID), payload())

    assert (answer.status, answer.headers["apns-id"], answer.body) == (200, APNS_ID, b"")
    assert len(simulator.ledger) == 1


async def test_absent_id_is_generated(client: SimulatorClient, sender: Sender) -> None:
    answer = await client.post("/3/device/aa11", sender.apns_headers(), payload())

    assert UUID.fullmatch(answer.headers["apns-id"])


async def test_client_without_alpn_is_served(simulator: Simulator, sender: Sender) -> None:
    client = await SimulatorClient.connect(simulator.url, simulator.ca_file, alpn=False)

    answer = await client.post("/3/device/aa11", sender.apns_headers(), payload())
    client.close()

    assert answer.status == 200


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"authorization": "bearer x.y.z"}, 403, "InvalidProviderToken"),
        ({"authorization": "basic x"}, 403, "MissingProviderToken"),
        ({"apns_topic": ""}, 400, "MissingTopic"),
        ({"apns_topic": "not a topic"}, 400, "BadTopic"),
        ({"apns_topic": "dev.fanfare.other"}, 400, "DeviceTokenNotForTopic"),
        ({"apns_topic": "com.example.app"}, 400, "TopicDisallowed"),
        ({"apns_push_type": "shout"}, 400, "InvalidPushType"),
        ({"apns_priority": "7"}, 400, "BadPriority"),
        ({"apns_push_type": "background"}, 400, "BadPriority"),
        ({"apns_expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
        ({"apns_id": "one"}, 400, "BadMessageId"),
    ],
)
async def test_bad_header_is_refused(
    client: SimulatorClient, sender: Sender, changes: dict[str, str], status: int, reason: str
) -> None:
    answer = await client.post("/3/device/aa11", sender.apns_headers(**changes), payload())

    assert (answer.status, answer.json) == (status, {"reason": reason})


@pytest.mark.parametrize(
    ("path", "method", "status", "reason"),
    [
        ("/3/device/", "POST", 400, "MissingDeviceToken"),
        ("/3/device/abc", "POST", 400, "BadDeviceToken"),
        ("/3/device/zz", "POST", 400, "BadDeviceToken"),
        (f"/3/device/{'ab' * 101}", "POST", 400, "BadDeviceToken"),
        ("/3/device/bad0", "POST", 400, "BadDeviceToken"),
        ("/3/device/5a00", "POST", 400, "BadDeviceToken"),
        ("/3/devices/aa", "POST", 404, "BadPath"),
        ("/3/device/aa", "PUT", 405, "MethodNotAllowed"),
    ],
)
async def test_bad_call_is_refused(
    client: SimulatorClient, sender: Sender, path: str, method: str, status: int, reason: str
) -> None:
    answer = await client.post(path, sender.apns_headers(), payload(), method=method)

    assert (answer.status, answer.json) == (status, {"reason": reason})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "PayloadEmpty"),
        (b"{", 400, "PayloadEmpty"),
        (b"[]", 400, "PayloadEmpty"),
        (b'{"alert": "no aps"}', 400, "PayloadEmpty"),
        (payload(body="x" * 4096), 413, "PayloadTooLarge"),
        (payload(body="x" * 70_000), 413, "PayloadTooLarge"),
    ],
)
async def test_bad_payload_is_refused(
    client: SimulatorClient, sender: Sender, body: bytes, status: int, reason: str
) -> None:
    answer = await client.post("/3/device/aa11", sender.apns_headers(), body)

    assert (answer.status, answer.json) == (status, {"reason": reason})


async def test_payload_of_exactly_4096_bytes_is_accepted(
    client: SimulatorClient, sender: Sender
) -> None:
    room = 4096 - len(payload(body=""))

    answer = await client.post("/3/device/aa11", sender.apns_headers(), payload(body="x" * room))

    assert answer.status == 200


async def test_missing_provider_token_is_refused(client: SimulatorClient, sender: Sender) -> None:
    headers = sender.apns_headers()
    del headers["authorization"]

    answer = await client.post("/3/device/aa11", headers, payload())

    assert (answer.status, answer.json) == (403, {"reason": "MissingProviderToken"})


async def test_provider_token_older_than_an_hour_has_expired(
    client: SimulatorClient, sender: Sender
) -> None:
    token = sender.provider_token(iat=int(time.time()) - 3601)

    answer = await client.post(
        "/3/device/aa11", sender.apns_headers(authorization=f"bearer {token}"), payload()
    )

    assert (answer.status, answer.json) == (403, {"reason": "ExpiredProviderToken"})


@pytest.mark.parametrize(
    "claims", [{"iss": "OTHERTEAM1"}, {"iat": "now"}, {"iat": time.time() + 900}]
)
async def test_provider_token_with_wrong_claims_is_invalid(
    client: SimulatorClient, sender: Sender, claims: dict[str, object]
) -> None:
    token = sender.provider_token(**claims)

    answer = await client.post(
        "/3/device/aa11", sender.apns_headers(authorization=f"bearer {token}"), payload()
    )

    assert (answer.status, answer.json) == (403, {"reason": "InvalidProviderToken"})


async def test_provider_token_of_another_key_id_is_invalid(
    client: SimulatorClient, sender: Sender
) -> None:
    claims = {"iss": sender.account.team_id, "iat": int(time.time())}
    token = jwt.encode(claims, sender.account.key_p8, algorithm="ES256", headers={"kid": "OTHER"})

    answer = await client.post(
        "/3/device/aa11", sender.apns_headers(authorization=f"bearer {token}"), payload()
    )

    assert (answer.status, answer.json) == (403, {"reason": "InvalidProviderToken"})


async def test_dead_token_is_unregistered_since_now(
    client: SimulatorClient, sender: Sender
) -> None:
    before = int(time.time() * 1000)

    answer = await client.post("/3/device/dead01", sender.apns_headers(), payload())

    assert (answer.status, answer.json["reason"]) == (410, "Unregistered")
    assert before <= int(str(answer.json["timestamp"])) <= time.time() * 1000


@pytest.mark.parametrize(
    ("token", "status", "reason"),
    [("429a01", 429, "TooManyRequests"), ("503a01", 503, "ServiceUnavailable")],
)
async def test_passing_trouble_shows_once_per_notification(
    client: SimulatorClient, sender: Sender, token: str, status: int, reason: str
) -> None:
    path, other = f"/3/device/{token}", sender.apns_headers(apns_collapse_id="summer")

    first = await client.post(path, sender.apns_headers(), payload())
    second = await client.post(path, sender.apns_headers(), payload())
    of_another_notification = await client.post(path, other, payload())

    assert (first.status, first.json) == (status, {"reason": reason})
    assert (second.status, of_another_notification.status) == (200, status)


async def test_sandbox_takes_sandbox_tokens_and_no_others(
    simulator: Simulator, sender: Sender
) -> None:
    client = await SimulatorClient.connect(str(simulator.sandbox_url), simulator.ca_file)

    accepted = await client.post("/3/device/5a00", sender.apns_headers(), payload())
    refused = await client.post("/3/device/aa11", sender.apns_headers(), payload())
    client.close()

    assert (accepted.status, "apns-unique-id" in accepted.headers) == (200, True)
    assert (refused.status, refused.json) == (400, {"reason": "BadDeviceToken"})
