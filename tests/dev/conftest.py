"""A simulator of its own for each test, on one account that is made once."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import orjson
import pytest
from google.oauth2 import service_account

from fanfare.dev.simulator import Simulator
from fanfare.dev.simulator.account import Account
from tests.dev.simulator_client import SimulatorClient

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


class Sender:
    """Makes requests that both providers accept; each test spoils what it is about."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.fcm_path = f"/v1/projects/{account.fcm_project_id}/messages:send"

    def provider_token(self, **claims: object) -> str:
        payload = {"iss": self.account.team_id, "iat": int(time.time())} | claims
        headers = {"kid": self.account.key_id}
        return jwt.encode(payload, self.account.key_p8, algorithm="ES256", headers=headers)

    def apns_headers(self, **changes: str) -> dict[str, str]:
        """Headers of an APNs request; changes are named with underscores."""
        headers = {
            "authorization": f"bearer {self.provider_token()}",
            "apns-topic": self.account.bundle_id,
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-expiration": "1900000000",
            "apns-collapse-id": "spring",
        }
        return headers | {name.replace("_", "-"): value for name, value in changes.items()}

    def assertion(self) -> str:
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call] # google-auth has no types
            self.account.service_account, scopes=[SCOPE]
        )
        signed: bytes = credentials._make_authorization_grant_assertion()
        return signed.decode()


def payload(title: str = "Sale", body: str = "Now", **data: object) -> bytes:
    return orjson.dumps({"aps": {"alert": {"title": title, "body": body}}} | data)


def fcm_body(token: object = "phone-1", **changes: object) -> bytes:
    message: dict[str, object] = {
        "token": token,
        "notification": {"title": "Sale", "body": "Now"},
        "data": {"deep_link": "app://sale"},
        "android": {"priority": "high", "ttl": "3600s", "notification": {"tag": "spring"}},
    }
    return orjson.dumps({"message": message | changes})


@pytest.fixture(scope="session")
def account_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulator")


@pytest.fixture
async def simulator(account_directory: Path) -> AsyncIterator[Simulator]:
    async with Simulator.start(directory=account_directory) as running:
        yield running


@pytest.fixture
def sender(simulator: Simulator) -> Sender:
    return Sender(simulator.account)


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[SimulatorClient]:
    connected = await SimulatorClient.connect(simulator.url, simulator.ca_file)
    yield connected
    connected.close()
