"""People who change between two buckets of a campaign: each is in its audience once."""

from itertools import chain

import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database
from fanfare.db.tables import app_users, push_tokens
from fanfare.entities import Timing
from fanfare.models import ProjectCtx
from tests.activities.test_buckets import (
    ALWAYS,
    BERLIN,
    LOCAL,
    NEW_YORK,
    NOW,
    PATIENT,
    TURNS,
    audiences,
    begun,
    freeze,
    freeze_past,
    people,
)


async def register_another(database: Database, project: ProjectCtx, user: str) -> None:
    """Another device of the user's."""
    users = app_users.c
    theirs = (users.project_id == project.project_id) & (users.external_id == user)
    async with database.transaction() as conn:
        user_id = (await conn.execute(sa.select(users.id).where(theirs))).scalar_one()
        token = {
            "project_id": project.project_id,
            "app_user_id": user_id,
            "token": "f" * 64,
            "platform": "ios",
            "provider": "apns",
            "environment": "production",
        }
        await conn.execute(sa.insert(push_tokens).values(token))


@pytest.mark.parametrize("timing", [LOCAL, PATIENT], ids=["skip", "send_now"])
async def test_who_had_a_turn_has_none_for_a_device_that_came_since(
    database: Database, project: ProjectCtx, timing: Timing
) -> None:
    """Neither a second message, nor a row that says that the turn was past."""
    berlin, new_york = await people(database, project, [BERLIN, NEW_YORK])
    sending = await begun(database, project, timing)

    await freeze(database, sending, 0, 1)
    await register_another(database, project, "user-0")
    await freeze(database, sending, 2)
    await freeze_past(database, sending)

    assert await audiences(database, sending) == {1: [berlin], 2: [new_york]}


async def test_device_that_came_before_the_turn_has_it_too(
    database: Database, project: ProjectCtx
) -> None:
    berlin, new_york = await people(database, project, [BERLIN, NEW_YORK])
    sending = await begun(database, project, LOCAL)

    await freeze(database, sending, 0, 1)
    await register_another(database, project, "user-1")
    await freeze(database, sending, 2)
    await freeze_past(database, sending)

    found = await audiences(database, sending)
    assert found[1] == [berlin]
    assert found[2][0] == new_york
    assert len(list(chain.from_iterable(found.values()))) == 3


async def test_who_is_in_a_zone_that_the_plan_does_not_name_is_not_left_out(
    database: Database, project: ProjectCtx
) -> None:
    """The plan was made by a machine that knows fewer zones."""
    berlin, new_york = await people(database, project, [BERLIN, NEW_YORK])
    timing = Timing(scheduled_at=NOW, window=ALWAYS, timezone_fallback=NEW_YORK)
    sending = await begun(database, project, timing, (TURNS[0], TURNS[2]))

    await freeze(database, sending, 0)

    assert await audiences(database, sending) == {0: [berlin], 1: [new_york]}
