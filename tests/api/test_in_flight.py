"""How much of a stopped campaign may still be accepted, wherever a campaign is shown."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database
from fanfare.db.tables import push_batches, push_owed
from fanfare.models import Lane
from tests.api.campaigning import Desk, Json, data_of
from tests.api.conftest import Tenant


@pytest.fixture
def desk(tenant: Tenant, database: Database) -> Desk:
    return Desk(tenant, database)


async def _in_flight(desk: Desk, campaign: Json, *, claimed: int, sent: int, owed: int) -> None:
    place = {"project_id": desk.project.project_id, "campaign_id": UUID(campaign["id"])}
    batch = {**place, "number": 0, "lane": Lane.FCM, "token_ids": list(range(100))}
    notes = [
        {**place, "number": 0, "token_id": token, "due_at": datetime.now(UTC)}
        for token in range(owed)
    ]
    await desk.set(campaign, frozen_at=datetime.now(UTC), audience=100)
    async with desk.database.transaction() as conn:
        counts = {"claimed": claimed, "sent": sent}
        await conn.execute(sa.insert(push_batches).values(batch | counts))
        await conn.execute(sa.insert(push_owed), notes)


@pytest.mark.parametrize(("verb", "expected"), [("pause", 10), ("cancel", 10), ("resume", None)])
async def test_what_is_on_the_wire_is_in_the_answer_in_one_and_in_the_list(
    desk: Desk, verb: str, expected: int | None
) -> None:
    campaign = await desk.campaign_in("sending")
    await _in_flight(desk, campaign, claimed=40, sent=25, owed=5)

    answered = data_of(await desk.act(campaign, verb))

    seen = await desk.seen(campaign)
    assert answered["in_flight_at_most"] == expected
    assert answered == seen == await desk.listed()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("draft", None),
        ("scheduled", None),
        ("paused scheduled", 0),
        ("sending", None),
        ("paused sending", 0),
        ("sent", None),
        ("cancelled", None),
        ("failed", None),
    ],
)
async def test_nothing_is_on_the_wire_of_what_has_not_begun(
    desk: Desk, state: str, expected: int | None
) -> None:
    campaign = await desk.campaign_in(state)

    assert campaign["in_flight_at_most"] == expected
    assert campaign == await desk.listed()
