"""The soak's client asks until it is answered, and for one thing once."""

from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import UUID

import orjson
import pytest

from fanfare.dev.api_client import ApiRefused
from tests.faults.soak.patient import PatientClient

CAMPAIGN = UUID(int=7)
SENT: Mapping[str, object] = {
    "data": {"id": str(CAMPAIGN), "name": "n", "status": "sending", "stats": {}, "failure": None}
}
AWAY = {"error": {"code": "DATABASE_UNAVAILABLE", "message": "Away."}}
IN_USE = {"error": {"code": "IDEMPOTENCY_KEY_IN_USE", "message": "Still no answer."}}
NOT_SENDABLE = {"error": {"code": "ALREADY_SENT", "message": "It was sent."}}


class FlakyApi(ThreadingHTTPServer):
    """Gives its answers in turn, and notes the keys that it was asked with. None: it hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers: list[tuple[int, object] | None] = []
        self.keys: list[str | None] = []


class Answering(BaseHTTPRequestHandler):
    server: FlakyApi

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.keys.append(self.headers["Idempotency-Key"])
        match self.server.answers.pop(0):
            case None:
                self.close_connection = True
            case status, body:
                self.send_response(status)
                self.send_header("Retry-After" if status == 503 else "X-Nothing", "1")
                self.end_headers()
                self.wfile.write(orjson.dumps(body))

    def log_message(self, *said: object) -> None:
        """Say nothing."""


@pytest.fixture
def flaky() -> Iterator[FlakyApi]:
    with FlakyApi() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(flaky: FlakyApi) -> Iterator[PatientClient]:
    with PatientClient(f"http://127.0.0.1:{flaky.server_port}", "key") as client:
        yield client


def test_every_try_has_the_same_key(flaky: FlakyApi, client: PatientClient) -> None:
    flaky.answers = [None, (503, AWAY), (409, IN_USE), (202, SENT)]

    campaign = client.send_campaign(CAMPAIGN)

    assert campaign.status == "sending"
    assert client.tries == len(flaky.keys) == 4
    assert len(set(flaky.keys)) == 1
    assert flaky.keys[0] is not None


def test_two_calls_have_two_keys(flaky: FlakyApi, client: PatientClient) -> None:
    flaky.answers = [(202, SENT), (202, SENT)]

    client.pause_campaign(CAMPAIGN)
    client.pause_campaign(CAMPAIGN)

    assert len(set(flaky.keys)) == 2


def test_a_refusal_is_an_answer(flaky: FlakyApi, client: PatientClient) -> None:
    flaky.answers = [(409, NOT_SENDABLE)]

    with pytest.raises(ApiRefused, match="ALREADY_SENT"):
        client.send_campaign(CAMPAIGN)

    assert client.tries == 1


def test_a_look_has_no_key(flaky: FlakyApi, client: PatientClient) -> None:
    flaky.answers = [None, (200, SENT)]

    client.campaign(CAMPAIGN)

    assert flaky.keys == [None, None]
    assert client.longest > 0
