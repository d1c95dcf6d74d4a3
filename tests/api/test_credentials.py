"""Credentials: checked when they come, sealed, and never shown."""

from uuid import UUID

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from httpx import AsyncClient

from fanfare.db import credentials
from fanfare.db.engine import Database
from fanfare.db.tables import credential_paces
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


async def test_credential_has_limits_that_the_real_services_bear(client: AsyncClient) -> None:
    put = await client.put("/admin/credentials/apns", json=APNS)

    assert put.json()["data"]["limits"] == {
        "messages_per_minute": 300_000,
        "ramp_seconds": 60,
        "max_in_flight": 2_000,
    }


async def test_limits_stay_with_the_place_until_others_are_named(client: AsyncClient) -> None:
    unlimited = {"messages_per_minute": None, "ramp_seconds": 0, "max_in_flight": 5_000}
    slow = {"messages_per_minute": 600, "ramp_seconds": 30, "max_in_flight": 10}

    first = await client.put("/admin/credentials/apns", json=APNS | {"limits": unlimited})
    kept = await client.put("/admin/credentials/apns", json=APNS)
    changed = await client.put("/admin/credentials/apns", json=APNS | {"limits": slow})
    beside = await client.put("/admin/credentials/apns", json=APNS | {"environment": "sandbox"})

    found = [each.json()["data"]["limits"] for each in (first, kept, changed, beside)]
    assert found[:3] == [unlimited, unlimited, slow]
    assert found[3]["messages_per_minute"] == 300_000
    shown = (await client.get("/admin/credentials/apns")).json()["data"]
    assert shown["limits"] == slow


async def test_limits_that_are_left_out_of_the_named_ones_are_the_defaults(
    client: AsyncClient,
) -> None:
    body = {"service_account_json": ACCOUNT, "limits": {"messages_per_minute": 60}}

    put = await client.put("/admin/credentials/fcm", json=body)

    assert put.json()["data"]["limits"] == {
        "messages_per_minute": 60,
        "ramp_seconds": 60,
        "max_in_flight": 2_000,
    }


@pytest.mark.parametrize("bundle_id", ["", ".", "com..app", ".com.app", "com.app.", "a/b", "a\n"])
async def test_bundle_id_has_no_empty_part(client: AsyncClient, bundle_id: str) -> None:
    answer = await client.put("/admin/credentials/apns", json=APNS | {"bundle_id": bundle_id})

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"][0]["path"] == "body.bundle_id"


@pytest.mark.parametrize(
    "limits",
    [
        {"messages_per_minute": 0},
        {"ramp_seconds": -1},
        {"ramp_seconds": None},
        {"max_in_flight": 0},
        {"max_in_flight": None},
        {"max_in_flight": 1_000_000},
        {"messages_per_second": 5},
    ],
)
async def test_limits_that_make_no_sense_are_refused(
    client: AsyncClient, limits: dict[str, object]
) -> None:
    answer = await client.put("/admin/credentials/apns", json=APNS | {"limits": limits})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "INVALID_INPUT")
    assert error["details"]["fields"][0]["path"].startswith("body.limits.")


async def test_pace_of_a_credential_follows_when_it_is_replaced(
    tenant: Tenant, database: Database
) -> None:
    first = await tenant.client.put("/admin/credentials/apns", json=APNS)
    async with database.transaction() as conn:
        await conn.execute(
            sa.insert(credential_paces).values(
                project_id=UUID(tenant.project_id),
                credential_id=UUID(first.json()["data"]["id"]),
                next_at=sa.func.now(),
                ramp_from=sa.func.now(),
                factor=0.5,
                held_until=sa.func.now(),
            )
        )

    second = await tenant.client.put("/admin/credentials/apns", json=APNS)

    async with database.transaction() as conn:
        found = await conn.execute(
            sa.select(credential_paces.c.credential_id).where(
                credential_paces.c.project_id == UUID(tenant.project_id)
            )
        )
    assert [str(row) for row in found.scalars()] == [second.json()["data"]["id"]]
