"""Credentials: checked when they come, sealed, and never shown."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from httpx import AsyncClient

from fanfare.db import credentials
from fanfare.db.engine import Database
from fanfare.models import Environment, ProjectCtx, ProviderName
from tests.api.conftest import KEY_RING, Tenant


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY_P8 = pem(ec.generate_private_key(ec.SECP256R1()))
APNS = {
    "team_id": "ABCDE12345",
    "key_id": "FGHIJ67890",
    "bundle_id": "com.example.app",
    "key_p8": KEY_P8,
}
ACCOUNT = {
    "type": "service_account",
    "project_id": "acme",
    "private_key_id": "1",
    "private_key": pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "client_email": "push@acme.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}


async def test_apns_credential_shows_ids_and_no_secret(client: AsyncClient) -> None:
    put = await client.put("/admin/credentials/apns", json=APNS)

    shown = put.json()["data"]
    assert shown["public"] == {
        "team_id": "ABCDE12345",
        "key_id": "...7890",
        "bundle_id": "com.example.app",
    }
    assert (shown["status"], shown["environment"]) == ("unchecked", "production")
    assert "PRIVATE KEY" not in put.text
    assert (await client.get("/admin/credentials/apns")).json() == put.json()


async def test_secret_opens_for_its_own_row(tenant: Tenant, api_database: Database) -> None:
    await tenant.client.put("/admin/credentials/apns", json=APNS)
    project = ProjectCtx(UUID(tenant.project_id))

    async with api_database.project(project) as conn:
        found = await credentials.get_sealed(
            conn, project, ProviderName.APNS, Environment.PRODUCTION
        )

    context = credentials.sealing_context(project, ProviderName.APNS, found.stored.id)
    assert KEY_RING.open(found.sealed, context=context) == KEY_P8
    assert found.stored.public["key_id"] == "FGHIJ67890"


async def test_environments_stand_beside_each_other(client: AsyncClient) -> None:
    await client.put("/admin/credentials/apns", json=APNS)
    await client.put("/admin/credentials/apns", json=APNS | {"environment": "sandbox"})
    await client.put("/admin/credentials/fcm", json={"service_account_json": ACCOUNT})

    listed = (await client.get("/admin/credentials")).json()["data"]

    lanes = [(each["provider"], each["environment"]) for each in listed]
    assert lanes == [("apns", "production"), ("apns", "sandbox"), ("fcm", "production")]


async def test_credential_that_is_put_again_is_another_row(client: AsyncClient) -> None:
    first = await client.put("/admin/credentials/apns", json=APNS)
    second = await client.put("/admin/credentials/apns", json=APNS)

    assert first.json()["data"]["id"] != second.json()["data"]["id"]
    assert len((await client.get("/admin/credentials")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("apns", APNS | {"key_p8": "nonsense"}, "body.key_p8"),
        (
            "fcm",
            {"service_account_json": ACCOUNT | {"token_uri": "https://example.com/"}},
            "body.service_account_json",
        ),
        ("fcm", {"service_account_json": "nonsense"}, "body.service_account_json"),
    ],
)
async def test_credential_that_cannot_work_is_refused(
    client: AsyncClient, path: str, body: dict[str, object], field: str
) -> None:
    answer = await client.put(f"/admin/credentials/{path}", json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "INVALID_CREDENTIAL")
    assert error["details"]["fields"][0]["path"] == field


async def test_deleted_credential_is_gone(client: AsyncClient) -> None:
    await client.put("/admin/credentials/fcm", json={"service_account_json": ACCOUNT})

    gone = await client.delete("/admin/credentials/fcm")
    again = await client.delete("/admin/credentials/fcm")

    assert [gone.status_code, again.status_code] == [204, 404]
