"""Why a campaign does not move, as the API shows it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from api.app import create_app
from api.resources import Resources
from fanfare.db import migrate
from fanfare.db import workers as beats
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from fanfare.db.tables import push_buckets, workers
from fanfare.dev import postgres
from fanfare.ids import new_id
from fanfare.models import Lane
from tests.api.conftest import OPERATOR_KEY, new_tenant, open_client
from tests.api.test_progress import Scene, shown

NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# However long these tests have run by then.
MOMENT_AGO = sa.text("now() - interval '5 seconds'")
LIVES: Mapping[str, object] = {}
SILENT = {"beat_at": NOW - MINUTE}
LOST = {"trouble": "temporal_unreachable", "trouble_since": NOW - MINUTE}
FULL = {"trouble": "ledger_not_writable", "trouble_since": NOW - MINUTE}


@dataclass(frozen=True, slots=True)
class Site(Scene):
    """A campaign in a database of its own: its workers are nobody else's."""

    async def work(self, *found: Mapping[str, object]) -> None:
        """Let these be the workers."""
        async with self.database.transaction() as conn:
            await conn.execute(sa.delete(workers))
            for each in found:
                values = {"id": new_id(), "name": "1@host", "revision": "0007", **each}
                await conn.execute(sa.insert(workers).values(values))

    async def code(self) -> object:
        """What the campaign says, alone and in the list."""
        seen, listed = await self.seen(), await self.listed()
        assert seen["degraded"] == listed["degraded"]
        degraded = seen["degraded"]
        return degraded["code"] if isinstance(degraded, dict) else degraded

    async def since(self) -> object:
        degraded = (await self.seen())["degraded"]
        assert isinstance(degraded, dict)
        return degraded["since"]


@pytest.fixture(scope="module")
async def own_url(postgres_port: int) -> str:
    postgres.ensure_database(postgres_port, "degraded")
    url = postgres.url(postgres_port, "degraded")
    migrate.upgrade(url)
    return url


@pytest.fixture
async def own_app(app: FastAPI, own_url: str) -> AsyncIterator[FastAPI]:
    database, reads = Database(own_url, role=API_ROLE), ReadPool(own_url, role=API_ROLE)
    await reads.open()
    resources: Resources = app.state.resources
    yield create_app(replace(resources, database=database, reads=reads))
    await reads.close()
    await database.close()


@pytest.fixture
async def site(own_app: FastAPI, own_url: str) -> AsyncIterator[Site]:
    database = Database(own_url)
    async with open_client(own_app, OPERATOR_KEY) as operator:
        tenant = await new_tenant(own_app, operator)
    created = await tenant.client.post("/admin/push", json={"title": "t", "body": "b"})
    yield Site(database, tenant, created.json()["data"]["id"])
    await tenant.client.aclose()
    await database.close()


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([LIVES, LIVES], None),
        ([LIVES, SILENT], None),
        ([LIVES, LOST], None),
        ([], "NO_WORKER"),
        ([SILENT], "NO_WORKER"),
        ([LOST, LOST], "TEMPORAL_UNREACHABLE"),
        ([LOST, SILENT], "TEMPORAL_UNREACHABLE"),
        ([FULL], "LEDGER_NOT_WRITABLE"),
        ([{"trouble": "what newer code knows"}], None),
    ],
)
async def test_campaign_that_is_sending_says_why_it_does_not_move(
    site: Site, found: list[Mapping[str, object]], code: str | None
) -> None:
    await site.freeze({"lane": Lane.FCM})
    await site.set(begun_at=NOW - HOUR)
    await site.work(*found)

    assert (await site.seen())["status"] == "sending"
    assert await site.code() == code


async def test_it_is_degraded_since_the_last_worker_was_heard_of(site: Site) -> None:
    await site.freeze({"lane": Lane.FCM})
    await site.set(begun_at=NOW - HOUR)
    await site.work(SILENT, {"beat_at": NOW - 2 * MINUTE})

    assert await site.since() == shown(NOW - MINUTE)


async def test_it_is_degraded_since_the_last_worker_came_into_trouble(site: Site) -> None:
    await site.freeze({"lane": Lane.FCM})
    await site.set(begun_at=NOW - HOUR)
    await site.work(LOST, {**LOST, "trouble_since": NOW - 2 * MINUTE})

    assert await site.since() == shown(NOW - MINUTE)


@pytest.mark.parametrize(
    "values",
    [
        {"status": "draft"},
        {"status": "sending", "paused_at": NOW},
        {"status": "sent"},
        {"status": "failed"},
        {"status": "cancelled"},
        {"status": "scheduled", "scheduled_at": NOW + HOUR},
        {"status": "scheduled", "scheduled_at": NOW - HOUR, "paused_at": NOW},
        {"status": "scheduled", "scheduled_at": MOMENT_AGO},
        # Somebody resumed or changed it a moment ago.
        {"status": "scheduled", "scheduled_at": NOW - HOUR, "updated_at": MOMENT_AGO},
    ],
)
async def test_campaign_that_need_not_move_is_not_degraded(
    site: Site, values: Mapping[str, object]
) -> None:
    await site.set(**{"updated_at": NOW - 2 * HOUR, **values})
    await site.work()

    assert await site.code() is None


@pytest.mark.parametrize(
    ("found", "code"), [([LIVES], "NOT_BEGUN"), ([], "NO_WORKER"), ([LOST], "TEMPORAL_UNREACHABLE")]
)
async def test_campaign_that_is_due_and_does_not_begin_says_why(
    site: Site, found: list[Mapping[str, object]], code: str
) -> None:
    due = NOW - 2 * MINUTE
    await site.set(status="scheduled", scheduled_at=due, updated_at=NOW - HOUR)
    await site.work(*found)

    assert await site.code() == code


async def test_campaign_that_was_sent_and_does_not_begin_says_so(site: Site) -> None:
    await site.set(status="sending", begun_at=None, updated_at=NOW - 2 * MINUTE)
    await site.work(LIVES)

    assert await site.code() == "NOT_BEGUN"
    assert await site.since() == shown(NOW - 2 * MINUTE)


@pytest.mark.parametrize(
    ("opens_at", "code"),
    [(NOW + HOUR, None), (NOW - 2 * MINUTE, "NOT_BEGUN"), (NOW - 3 * HOUR, None)],
    ids=["ahead", "due", "past when it was scheduled"],
)
async def test_campaign_in_local_time_is_due_with_its_first_zone(
    site: Site, opens_at: datetime, code: str | None
) -> None:
    armed_at = NOW - 2 * HOUR
    await site.set(
        status="scheduled", delivery_mode="local_time", armed_at=armed_at, updated_at=armed_at
    )
    await _plan(site, opens_at)
    await site.work(LIVES)

    assert await site.code() == code


@pytest.mark.parametrize(
    ("first_turn", "code"), [(NOW + HOUR, None), (NOW - HOUR, "NO_WORKER")], ids=["ahead", "due"]
)
async def test_campaign_in_local_time_that_nobody_planned_is_due_with_the_first_zone_of_all(
    site: Site, first_turn: datetime, code: str | None
) -> None:
    local = first_turn + 14 * HOUR
    await site.set(
        status="scheduled",
        delivery_mode="local_time",
        local_date=local.date(),
        local_time=local.time(),
        updated_at=NOW - 2 * HOUR,
    )
    await site.work()

    assert await site.code() == code


async def test_campaign_of_which_all_is_held_says_so(site: Site) -> None:
    await site.freeze({"lane": Lane.FCM}, {"lane": Lane.APNS, "completed_at": NOW})
    await site.set(begun_at=NOW - HOUR)
    await site.work(LIVES)
    await site.hold(Lane.FCM, NOW + HOUR)

    seen = await site.seen()

    assert seen["held_until"] == shown(NOW + HOUR)
    assert await site.code() == "PROVIDER_HELD"


async def test_campaign_of_which_one_lane_goes_on_is_not_degraded(site: Site) -> None:
    await site.freeze({"lane": Lane.FCM}, {"lane": Lane.APNS})
    await site.set(begun_at=NOW - HOUR)
    await site.work(LIVES)
    await site.hold(Lane.FCM, NOW + HOUR)

    seen = await site.seen()

    assert seen["held_until"] == shown(NOW + HOUR)
    assert await site.code() is None


async def test_database_that_takes_no_writes_is_named(site: Site) -> None:
    await site.freeze({"lane": Lane.FCM})
    await site.work()

    async with site.database.transaction() as conn:
        await conn.execute(
            sa.text("SELECT set_config('default_transaction_read_only', 'on', true)")
        )
        crew = await beats.crew(conn)

    assert (crew.live, crew.is_read_only) == (0, True)


async def _plan(site: Site, opens_at: datetime) -> None:
    values = {
        "project_id": site.tenant.project_id,
        "campaign_id": site.campaign_id,
        "number": 0,
        "timezones": ["Europe/Berlin"],
        "fires_at": opens_at,
        "opens_at": opens_at,
    }
    async with site.database.transaction() as conn:
        await conn.execute(sa.insert(push_buckets).values(values))
