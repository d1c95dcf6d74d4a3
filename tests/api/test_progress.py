"""A campaign that is being sent, as the API shows it: its counts, and what holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database
from fanfare.db.tables import credential_paces, credentials, push_batches, push_campaigns
from fanfare.ids import new_id
from fanfare.models import Lane
from tests.api.conftest import Tenant

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A project with credentials, and a campaign of it whose workflow never begins."""

    database: Database
    tenant: Tenant
    campaign_id: str

    async def seen(self) -> Mapping[str, object]:
        answer = await self.tenant.client.get(f"/admin/push/{self.campaign_id}")
        seen: Mapping[str, object] = answer.json()["data"]
        return seen

    async def listed(self) -> Mapping[str, object]:
        answer = await self.tenant.client.get("/admin/push")
        seen: Mapping[str, object] = answer.json()["data"][0]
        return seen

    async def set(self, **values: object) -> None:
        campaign = push_campaigns.c.id == UUID(self.campaign_id)
        async with self.database.transaction() as conn:
            await conn.execute(sa.update(push_campaigns).where(campaign).values(values))

    async def freeze(self, *batches: Mapping[str, object]) -> None:
        """Begin the sending of these batches, of 100 devices each."""
        place = {"project_id": UUID(self.tenant.project_id), "campaign_id": UUID(self.campaign_id)}
        await self.set(status="sending", frozen_at=NOW, audience=100 * len(batches))
        async with self.database.transaction() as conn:
            for number, batch in enumerate(batches):
                values = {"number": number, "token_ids": list(range(100)), **place, **batch}
                await conn.execute(sa.insert(push_batches).values(values))

    async def hold(self, lane: Lane, until: datetime) -> None:
        """Have the provider of that lane throttle the project."""
        place = {"project_id": UUID(self.tenant.project_id)}
        credential_id = new_id()
        sealed = {"fingerprint": "", "secret": b"", "wrapped_key": b"", "wrapped_by": "v1"}
        pace = {"next_at": NOW, "ramp_from": NOW, "factor": 0.5, "held_until": until}
        async with self.database.transaction() as conn:
            await conn.execute(
                sa.insert(credentials).values(
                    id=credential_id,
                    provider=lane.provider,
                    environment=lane.environment,
                    public={},
                    status="unchecked",
                    **place,
                    **sealed,
                )
            )
            await conn.execute(
                sa.insert(credential_paces).values(credential_id=credential_id, **place, **pace)
            )


@pytest.fixture
async def scene(tenant: Tenant, database: Database) -> Scene:
    created = await tenant.client.post("/admin/push", json={"title": "t", "body": "b"})
    return Scene(database, tenant, created.json()["data"]["id"])


def shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def test_counts_are_summed_over_the_batches(scene: Scene) -> None:
    await scene.freeze(
        {"lane": Lane.APNS, "sent": 60, "failed": 10, "unknown": 1, "possible_duplicates": 2},
        {"lane": Lane.FCM, "sent": 5, "skipped": 3, "skipped_by": {"token_gone": 2, "expired": 1}},
        {"lane": Lane.FCM, "skipped": 4, "skipped_by": {"expired": 4}},
    )

    seen = await scene.seen()

    assert seen["stats"] == {
        "audience": 300,
        "pending": 217,
        "sent": 65,
        "failed": 10,
        "skipped": 7,
        "unknown": 1,
        "opened": 0,
        "possible_duplicates": 2,
        "skipped_by": {"expired": 5, "token_gone": 2},
    }
    assert seen == await scene.listed()


async def test_throttle_is_shown_while_it_holds_a_campaign(scene: Scene) -> None:
    await scene.freeze({"lane": Lane.FCM}, {"lane": Lane.APNS})
    await scene.hold(Lane.FCM, NOW + HOUR)

    seen = await scene.seen()

    assert (seen["status"], seen["held_until"]) == ("sending", shown(NOW + HOUR))
    assert seen == await scene.listed()


async def test_of_two_throttles_the_last_to_end_is_shown(scene: Scene) -> None:
    await scene.freeze({"lane": Lane.FCM}, {"lane": Lane.APNS_SANDBOX})
    await scene.hold(Lane.FCM, NOW + HOUR)
    await scene.hold(Lane.APNS_SANDBOX, NOW + 2 * HOUR)

    assert (await scene.seen())["held_until"] == shown(NOW + 2 * HOUR)


async def test_throttle_of_a_lane_without_work_holds_nothing(scene: Scene) -> None:
    await scene.freeze({"lane": Lane.FCM, "completed_at": NOW}, {"lane": Lane.APNS})
    await scene.hold(Lane.FCM, NOW + HOUR)
    await scene.hold(Lane.APNS_SANDBOX, NOW + HOUR)

    assert (await scene.seen())["held_until"] is None


async def test_throttle_that_is_over_holds_nothing(scene: Scene) -> None:
    await scene.freeze({"lane": Lane.FCM})
    await scene.hold(Lane.FCM, NOW - HOUR)

    assert (await scene.seen())["held_until"] is None


@pytest.mark.parametrize(
    "values",
    [{"paused_at": NOW}, {"status": "sent"}, {"status": "failed"}, {"status": "scheduled"}],
)
async def test_campaign_that_is_not_being_sent_is_held_by_no_throttle(
    scene: Scene, values: Mapping[str, object]
) -> None:
    await scene.freeze({"lane": Lane.FCM})
    await scene.hold(Lane.FCM, NOW + HOUR)
    await scene.set(**values)

    assert (await scene.seen())["held_until"] is None
    assert (await scene.listed())["held_until"] is None


async def test_another_projects_throttle_holds_nothing(
    scene: Scene, other_tenant: Tenant, database: Database
) -> None:
    await scene.freeze({"lane": Lane.FCM})
    await Scene(database, other_tenant, scene.campaign_id).hold(Lane.FCM, NOW + HOUR)

    assert (await scene.seen())["held_until"] is None
