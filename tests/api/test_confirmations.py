"""Confirmations: who has seen what a campaign will do, and to how many, may let it go."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from api import confirmations
from api.confirmations import VALID_FOR
from api.forecasts import Planned
from api.resources import Resources
from fanfare.db import campaigns
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.tables import push_tokens
from fanfare.entities import Timing
from fanfare.errors import AudienceChanged, ConfirmationRequired
from fanfare.models import Content, DeliveryMode, ProjectCtx
from fanfare.schedule import DeliveryWindow
from tests.api.conftest import Tenant
from tests.api.previewing import HELLO, credentials, draft, people, preview
from tests.api.test_campaigns import code

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}
FREE = {"field": "properties.plan", "op": "eq", "value": "free"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where campaigns of one project are previewed, confirmed and let go, or not."""

    tenant: Tenant
    resources: Resources

    @property
    def client(self) -> AsyncClient:
        return self.tenant.client

    @property
    def project(self) -> ProjectCtx:
        return ProjectCtx(UUID(self.tenant.project_id))

    async def planned(self, campaign_id: str) -> Planned:
        async with self.resources.database.project(self.project) as conn:
            return Planned.of(await campaigns.get(conn, self.project, UUID(campaign_id)))

    async def token(self, campaign_id: str) -> str:
        found = await preview(self.client, campaign_id=campaign_id)
        return str(found["confirmation"]["token"])

    async def require(
        self, planned: Planned, confirmation: str | None, now: datetime | None = None
    ) -> None:
        moment = now or datetime.now(UTC)
        await confirmations.require(self.resources, self.project, planned, confirmation, now=moment)

    async def refusal(
        self, planned: Planned, confirmation: str | None, now: datetime | None = None
    ) -> Mapping[str, object]:
        with pytest.raises(ConfirmationRequired) as raised:
            await self.require(planned, confirmation, now)
        assert raised.value.details is not None
        return raised.value.details

    async def change_audience(self, more: int, gone: int) -> None:
        await people(self.client, more)
        tokens = push_tokens.c
        some = sa.select(tokens.id).where(tokens.project_id == self.project.project_id)
        leaving = sa.update(push_tokens).where(tokens.id.in_(some.limit(gone)))
        async with self.resources.database.project(self.project) as conn:
            await conn.execute(leaving.values(is_active=False))


@pytest.fixture
async def desk(tenant: Tenant, app: FastAPI) -> Desk:
    """Of a project of ten devices that asks for a confirmation above nine."""
    await credentials(tenant.client)
    await people(tenant.client, 10, properties={"plan": "pro"})
    await tenant.client.patch("/admin/project", json={"confirm_above": 9})
    await tenant.client.post("/admin/segments", json={"id": "seg_a", "name": "A", "rules": PRO})
    return Desk(tenant, app.state.resources)


async def test_nothing_is_counted_where_nothing_is_asked(tenant: Tenant, app: FastAPI) -> None:
    # A database that cannot be reached: nobody asks it.
    nowhere = Database("postgresql://127.0.0.1:9/nowhere")
    resources = replace(app.state.resources, database=nowhere)
    planned = Planned(NewCampaign("n", Content("t", "b", {})))

    await Desk(tenant, resources).require(planned, None)

    await nowhere.close()


async def test_the_preview_says_whether_one_is_required(desk: Desk) -> None:
    campaign_id = await draft(desk.client)

    above = await preview(desk.client, campaign_id=campaign_id)
    await desk.client.patch("/admin/project", json={"confirm_above": 10})
    not_above = await preview(desk.client, campaign_id=campaign_id)

    assert above["confirmation"]["required"] is True
    assert not_above["confirmation"]["required"] is False


async def test_it_is_required_above_the_projects_number(desk: Desk) -> None:
    planned = await desk.planned(await draft(desk.client))

    details = await desk.refusal(planned, None)

    assert details == {"reason": "missing", "audience": 10, "confirm_above": 9}


async def test_it_is_not_required_up_to_the_projects_number(desk: Desk) -> None:
    await desk.client.patch("/admin/project", json={"confirm_above": 10})
    planned = await desk.planned(await draft(desk.client))

    await desk.require(planned, None)


async def test_with_it_the_campaign_may_go(desk: Desk) -> None:
    campaign_id = await draft(desk.client, data={"n": 1.5, "deep": {"b": [None, True]}})
    planned = await desk.planned(campaign_id)

    await desk.require(planned, await desk.token(campaign_id))


async def test_a_new_campaign_with_a_time_has_none_yet(desk: Desk) -> None:
    timing = Timing(scheduled_at=TOMORROW)
    planned = Planned(NewCampaign("n", Content("t", "b", {}), timing=timing))

    details = await desk.refusal(planned, None)

    assert details == {"reason": "missing", "audience": 10, "confirm_above": 9}


async def test_it_holds_for_an_hour(desk: Desk) -> None:
    campaign_id = await draft(desk.client)
    planned = await desk.planned(campaign_id)
    before = datetime.now(UTC)
    token = await desk.token(campaign_id)

    await desk.require(planned, token, before + VALID_FOR - timedelta(seconds=1))
    details = await desk.refusal(planned, token, datetime.now(UTC) + VALID_FOR)

    assert details == {"reason": "expired", "audience": 10, "confirm_above": 9}


async def test_it_is_for_one_campaign(desk: Desk) -> None:
    token = await desk.token(await draft(desk.client))
    other = await desk.planned(await draft(desk.client))

    details = await desk.refusal(other, token)

    assert details == {"reason": "other_campaign", "audience": 10, "confirm_above": 9}


async def test_one_that_does_not_fit_is_refused_even_where_none_is_asked(desk: Desk) -> None:
    await desk.client.patch("/admin/project", json={"confirm_above": None})
    planned = await desk.planned(await draft(desk.client))

    details = await desk.refusal(planned, "x")

    assert details == {"reason": "invalid", "audience": 10, "confirm_above": None}


@pytest.mark.parametrize(
    "changed",
    [
        {"content": Content("Hello!", "Version 2 is here.", {})},
        {"content": Content("Hello", "Version 2 is here.", {"a": 1})},
        {"segment_id": None},
        {"rate_limit": 5},
        {"expires_at": TOMORROW},
        {"timing": Timing(window=DeliveryWindow(NOW.time(), NOW.time(), None))},
    ],
    ids=str,
)
async def test_it_is_for_what_was_said(desk: Desk, changed: dict[str, object]) -> None:
    campaign_id = await draft(desk.client, segment_id="seg_a")
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)
    after = NewCampaign(**{**_fields(planned.said), **changed})  # type: ignore[arg-type]  # by name

    details = await desk.refusal(replace(planned, said=after), token)

    assert details["reason"] == "campaign_changed"


def _fields(said: NewCampaign) -> dict[str, object]:
    return {name: getattr(said, name) for name in NewCampaign.__slots__}


async def test_it_is_for_the_segment_as_it_was(desk: Desk) -> None:
    campaign_id = await draft(desk.client, segment_id="seg_a")
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)
    await people(desk.client, 10, properties={"plan": "free"})
    await desk.client.patch("/admin/segments/seg_a", json={"rules": FREE})

    details = await desk.refusal(planned, token)

    assert details == {"reason": "campaign_changed", "audience": 10, "confirm_above": 9}


async def test_another_name_changes_nothing(desk: Desk) -> None:
    campaign_id = await draft(desk.client)
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)

    renamed = replace(planned, said=replace(planned.said, name="Another"))

    await desk.require(renamed, token)


@pytest.mark.parametrize(
    "timing",
    [
        Timing(scheduled_at=TOMORROW, max_lateness=timedelta(hours=2)),
        Timing(
            delivery_mode=DeliveryMode.LOCAL_TIME,
            local_date=TOMORROW.date() + timedelta(days=1),
            local_time=NOW.time(),
        ),
    ],
    ids=["instant", "local_time"],
)
async def test_of_a_draft_it_holds_for_whichever_time_it_is_given(
    desk: Desk, timing: Timing
) -> None:
    campaign_id = await draft(desk.client)
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)

    timed = replace(planned, said=replace(planned.said, timing=timing))

    await desk.require(timed, token)


async def test_of_a_scheduled_campaign_it_holds_for_its_time(desk: Desk) -> None:
    await desk.client.patch("/admin/project", json={"confirm_above": None})
    campaign_id = await draft(desk.client, scheduled_at=TOMORROW.isoformat())
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)
    later = Timing(scheduled_at=TOMORROW + timedelta(minutes=1))

    await desk.require(planned, token)
    moved = replace(planned, said=replace(planned.said, timing=later))
    details = await desk.refusal(moved, token)

    assert details == {"reason": "campaign_changed", "audience": 10, "confirm_above": None}


@pytest.mark.parametrize(("more", "gone"), [(1, 0), (0, 1)])
async def test_a_tenth_more_or_less_is_still_what_was_confirmed(
    desk: Desk, more: int, gone: int
) -> None:
    campaign_id = await draft(desk.client)
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)
    await desk.change_audience(more, gone)

    await desk.require(planned, token)


@pytest.mark.parametrize(("more", "gone"), [(2, 0), (0, 2)])
async def test_an_audience_that_has_changed_is_not_sent_to(
    desk: Desk, more: int, gone: int
) -> None:
    campaign_id = await draft(desk.client)
    token = await desk.token(campaign_id)
    planned = await desk.planned(campaign_id)
    await desk.change_audience(more, gone)

    with pytest.raises(AudienceChanged) as raised:
        await desk.require(planned, token)

    assert raised.value.details == {"confirmed": 10, "now": 10 + more - gone}


async def test_sending_asks_for_it(desk: Desk) -> None:
    campaign_id = await draft(desk.client)
    path = f"/admin/push/{campaign_id}/send"
    token = await desk.token(campaign_id)

    without = await desk.client.post(path)
    with_it = await desk.client.post(path, json={"confirmation": token})

    assert code(without) == (409, "CONFIRMATION_REQUIRED")
    assert with_it.status_code == 202


async def test_scheduling_asks_for_it(desk: Desk) -> None:
    campaign_id = await draft(desk.client)
    path = f"/admin/push/{campaign_id}"
    token = await desk.token(campaign_id)
    at = {"scheduled_at": TOMORROW.isoformat()}

    created = await desk.client.post("/admin/push", json={**HELLO, **at})
    without = await desk.client.patch(path, json=at)
    with_it = await desk.client.patch(path, json={**at, "confirmation": token})

    assert code(created) == code(without) == (409, "CONFIRMATION_REQUIRED")
    assert (with_it.status_code, with_it.json()["data"]["status"]) == (200, "scheduled")
