"""What was found good once is known again, and nothing else is."""

import ssl
import time

import httpx
import orjson
import pytest

from fanfare.dev.simulator import Endpoint, Simulator, fcm_message
from fanfare.dev.simulator.known_body import KnownBody, learn
from fanfare.dev.simulator.known_head import KnownHead
from fanfare.dev.simulator.ledger import Envelope
from fanfare.models import Environment
from tests.dev.conftest import Sender, fcm_body, payload
from tests.dev.simulator_client import SimulatorClient

ID = "2f3b6c1e-0000-4000-8000-00000000000a"
ENVELOPE = Envelope(Endpoint.FCM, Environment.PRODUCTION, "spring", "", "", "Sale", "Now", {})
HEAD = ((b":method", b"POST"), (b":path", b"/3/device/aa"), (b"topic", b"a"), (b"apns-id", b"1"))


def learned(body: bytes) -> KnownBody | None:
    return learn(body, fcm_message.read(body), ENVELOPE)


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        (HEAD, True),
        ((*HEAD[:1], (b":path", b"/3/device/bb"), HEAD[2], (b"apns-id", b"2")), True),
        ((*HEAD[:1], (b":path", b"/4/device/bb"), *HEAD[2:]), False),
        ((*HEAD[:2], (b"topic", b"b"), HEAD[3]), False),
        (((b":method", b"GET"), *HEAD[1:]), False),
        ((*HEAD[:3], (b"topic", b"a")), False),
        ((*HEAD, (b"topic", b"a")), False),
        (HEAD[:3], False),
    ],
)
def test_head_fits_while_only_path_and_own_field_differ(
    fields: tuple[tuple[bytes, bytes], ...], fits: bool
) -> None:
    known = KnownHead(HEAD, start=b"/3/device/", own=b"apns-id")

    assert known.fits(fields) is fits


def test_body_is_known_by_all_but_its_registration() -> None:
    known = learned(fcm_body("phone-1"))

    assert known is not None
    assert known.address(fcm_body("phone-2")) == "phone-2"
    assert known.address(fcm_body("phone-2", data={})) is None


@pytest.mark.parametrize("token", ["", 'a"b', "a b", "\u00e9", 'a","name":"b', 3, None])
def test_body_with_an_invalid_registration_is_not_known(token: object) -> None:
    known = learned(fcm_body("phone-1"))

    assert known is not None
    assert known.address(fcm_body(token)) is None


@pytest.mark.parametrize(
    "message",
    [
        b'{"data":{"x":"a"},"token":"a"}',
        b'{"data":{"x":"a"},"token":"\\u0061"}',
        b'{"data":{"a":"x"},"token":"a"}',
        b'{"notification":{"title":"\\"a"},"token":"\\u0061"}',
        b'{"token":"token"}',
        b'{"topic":"a"}',
    ],
)
def test_body_whose_registration_cannot_be_told_is_not_learned(message: bytes) -> None:
    assert learned(b'{"message":%b}' % message) is None


async def test_provider_token_expires_between_two_like_requests(
    simulator: Simulator, sender: Sender
) -> None:
    now = [time.time()]
    directory = simulator.account.directory
    async with Simulator.start(directory=directory, clock=lambda: now[0]) as own:
        client = await SimulatorClient.connect(own.url, own.ca_file)
        headers = sender.apns_headers(apns_id=ID)
        good = await client.post("/3/device/aa11", headers, payload())

        now[0] += 3602
        late = await client.post("/3/device/aa11", headers, payload())
        client.close()

    assert (good.status, late.json) == (200, {"reason": "ExpiredProviderToken"})


async def test_forged_provider_token_is_refused_after_a_good_request(
    client: SimulatorClient, sender: Sender
) -> None:
    headers = sender.apns_headers(apns_id=ID)
    first = await client.post("/3/device/aa11", headers, payload())
    forged = headers | {"authorization": f"{headers['authorization']}x"}

    second = await client.post("/3/device/aa22", forged, payload())

    assert (first.status, second.status) == (200, 403)
    assert second.json == {"reason": "InvalidProviderToken"}


@pytest.mark.parametrize(
    ("path", "message_id", "reason"),
    [
        ("/3/device/xyz1", ID, "BadDeviceToken"),
        ("/3/device/aa1", ID, "BadDeviceToken"),
        ("/3/device/", ID, "MissingDeviceToken"),
        ("/3/devices/aa11", ID, "BadPath"),
        ("/3/device/aa11", ID[:-1], "BadMessageId"),
        ("/3/device/aa11", ID[:-1] + "x", "BadMessageId"),
        ("/3/device/aa11", ID.replace("-", "a"), "BadMessageId"),
    ],
)
async def test_faults_of_path_and_id_are_found_after_a_good_request(
    client: SimulatorClient, sender: Sender, path: str, message_id: str, reason: str
) -> None:
    good = await client.post("/3/device/aa11", sender.apns_headers(apns_id=ID), payload())

    bad = await client.post(path, sender.apns_headers(apns_id=message_id), payload())

    assert (good.status, bad.json["reason"]) == (200, reason)


async def test_faults_of_a_body_are_found_after_good_ones(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": sender.assertion(),
    }
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=simulator.ca_file)
    ) as http:
        granted = (await http.post(f"{simulator.url}/token", data=form)).json()
    bearer = {"authorization": f"Bearer {granted['access_token']}"}
    bodies = [*map(fcm_body, ("p1", "p2", "p3", "p 4", "p5"))]

    answers = [await client.post(sender.fcm_path, bearer, body) for body in bodies]

    assert [answer.status for answer in answers] == [200, 200, 200, 400, 200]
    accepted = list(simulator.ledger.acceptances(provider=Endpoint.FCM))
    assert [one.token for one in accepted] == ["p1", "p2", "p3", "p5"]
    assert {one.message_id for one in accepted} == {
        str(orjson.loads(answers[n].body)["name"]) for n in (0, 1, 2, 4)
    }
