"""Who sends for a credential: one per process, until the credential is another."""

import asyncio
import base64

import pytest

from activities.senders import Senders
from activities.stores import Stores
from fanfare.db import credentials
from fanfare.db.credentials import NewCredential, sealing_context
from fanfare.db.engine import Database
from fanfare.errors import InvalidCredential
from fanfare.ids import new_id
from fanfare.models import Environment, Lane, ProjectCtx, ProviderName
from fanfare.providers.connect import ProviderAddresses
from fanfare.sealing import KeyRing
from tests.providers.keys import apns_credential

RING = KeyRing("v1:" + base64.b64encode(b"k" * 32).decode())


async def put(database: Database, project: ProjectCtx, key_p8: str) -> None:
    credential_id, provider = new_id(), ProviderName.APNS
    context = sealing_context(project, provider, credential_id)
    new = NewCredential(
        id=credential_id,
        provider=provider,
        environment=Environment.PRODUCTION,
        public={"team_id": "T", "key_id": "K", "bundle_id": "com.example.app"},
        fingerprint="fingerprint",
        sealed=RING.seal(key_p8, context=context),
    )
    async with database.transaction() as conn:
        await credentials.put(conn, project, new)


@pytest.fixture
def senders(stores: Stores) -> Senders:
    return Senders(stores, RING, ProviderAddresses())


async def test_a_project_without_the_credential_has_no_sender(
    senders: Senders, project: ProjectCtx
) -> None:
    assert await senders.find(project, Lane.APNS) is None


async def test_batches_that_come_at_once_share_one_sender(
    database: Database, senders: Senders, project: ProjectCtx
) -> None:
    await put(database, project, apns_credential().key_p8)

    found = await asyncio.gather(*(senders.find(project, Lane.APNS) for _ in range(20)))

    assert found[0] is not None
    assert {id(sender) for sender in found} == {id(found[0])}
    await senders.close()


async def test_a_replaced_credential_gets_another_sender_once_the_first_is_refused(
    database: Database, senders: Senders, project: ProjectCtx
) -> None:
    await put(database, project, apns_credential().key_p8)
    first = await senders.find(project, Lane.APNS)
    assert first is not None

    first.pace.refused()
    still = await senders.find(project, Lane.APNS)
    await put(database, project, apns_credential().key_p8)
    second = await senders.find(project, Lane.APNS)

    assert still is first
    assert second is not None
    assert second is not first
    assert not second.pace.is_refused
    await senders.close()


async def test_a_credential_that_no_key_opens_cannot_be_used(
    database: Database, stores: Stores, project: ProjectCtx
) -> None:
    await put(database, project, apns_credential().key_p8)
    other_ring = KeyRing("v1:" + base64.b64encode(b"x" * 32).decode())

    with pytest.raises(InvalidCredential):
        await Senders(stores, other_ring, ProviderAddresses()).find(project, Lane.APNS)


async def test_a_project_that_fell_silent_keeps_no_sender(
    database: Database, senders: Senders, project: ProjectCtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(database, project, apns_credential().key_p8)
    first = await senders.find(project, Lane.APNS)

    monkeypatch.setattr("activities.senders.IDLE_SECONDS", -1.0)
    await senders.find(project, Lane.FCM)
    second = await senders.find(project, Lane.APNS)

    assert first is not None
    assert second is not None
    assert second is not first
    await senders.close()


async def test_the_other_environment_has_a_sender_where_it_has_a_credential(
    database: Database, senders: Senders, project: ProjectCtx
) -> None:
    await put(database, project, apns_credential().key_p8)

    other = await senders.find_other(project, Lane.APNS_SANDBOX)

    assert other is await senders.find(project, Lane.APNS)
    assert await senders.find_other(project, Lane.APNS) is None
    assert await senders.find_other(project, Lane.FCM) is None
    await senders.close()


async def test_a_key_of_the_other_environment_that_cannot_be_used_stops_nothing(
    database: Database, senders: Senders, project: ProjectCtx
) -> None:
    await put(database, project, "not a key")

    assert await senders.find_other(project, Lane.APNS_SANDBOX) is None
