"""Campaigns in every state, and how they look: over HTTP, and as the row that claims read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from api.app import create_app
from api.resources import Resources
from fanfare.db import campaigns
from fanfare.db.engine import Database
from fanfare.db.tables import push_campaigns
from fanfare.entities import Failure
from fanfare.models import CampaignStatus, ProjectCtx
from tests.api.conftest import NO_TEMPORAL, Tenant, open_client

HELLO = {"title": "Hello", "body": "Version 2 is here."}
# Further ahead than any test takes, nearer than any limit.
AT = "2027-04-20T09:00:00Z"
GOOD_MORNING = {
    **HELLO,
    "delivery_mode": "local_time",
    "local_date": "2027-04-20",
    "local_time": "09:00",
}

Json = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Desk:
    """A project, and what can be had of its campaigns. No workflow ever runs."""

    tenant: Tenant
    database: Database

    @property
    def client(self) -> AsyncClient:
        return self.tenant.client

    @property
    def project(self) -> ProjectCtx:
        return ProjectCtx(UUID(self.tenant.project_id))

    async def offer(self, campaign: Json, **fields: object) -> httpx.Response:
        """The answer to a creation."""
        return await self.client.post("/admin/push", json={**campaign, **fields})

    async def create(self, **fields: object) -> Json:
        """A campaign, as it is answered."""
        return data_of(await self.offer(HELLO, **fields))

    async def change(self, campaign: Json, **fields: object) -> httpx.Response:
        """The answer to a PATCH."""
        return await self.client.patch(f"/admin/push/{campaign['id']}", json=fields)

    async def act(self, campaign: Json, verb: str) -> httpx.Response:
        """The answer to one of `send`, `pause`, `resume`, `cancel`."""
        return await self.client.post(f"/admin/push/{campaign['id']}/{verb}")

    async def seen(self, campaign: Json) -> Json:
        return data_of(await self.client.get(f"/admin/push/{campaign['id']}"))

    async def listed(self) -> Json:
        """The newest campaign, as the list has it."""
        newest: Json = (await self.client.get("/admin/push")).json()["data"][0]
        return newest

    async def row(self, campaign: Json) -> Json | None:
        """All of the row, None where it is gone."""
        statement = sa.select(push_campaigns).where(push_campaigns.c.id == UUID(campaign["id"]))
        async with self.database.transaction() as conn:
            found = (await conn.execute(statement)).mappings().one_or_none()
        return None if found is None else dict(found)

    async def set(self, campaign: Json, **values: object) -> None:
        """Have the row say so, whatever led to it."""
        this = push_campaigns.c.id == UUID(campaign["id"])
        async with self.database.transaction() as conn:
            await conn.execute(sa.update(push_campaigns).where(this).values(values))

    async def begin(self, campaign: Json) -> None:
        """As its workflow does when its time has come."""
        async with self.database.transaction() as conn:
            await campaigns.begin(conn, self.project, UUID(campaign["id"]), revision=None)

    async def end(
        self, campaign: Json, status: CampaignStatus, failure: Failure | None = None
    ) -> None:
        """As its workflow does at its end."""
        async with self.database.transaction() as conn:
            await campaigns.end(conn, self.project, UUID(campaign["id"]), status, failure)

    async def campaign_in(self, state: str, **fields: object) -> Json:
        """A campaign that has come to that state the way that campaigns do."""
        if state == "draft":
            return await self.create(**fields)
        campaign = await self.create(**{"scheduled_at": AT, **fields})
        match state:
            case "scheduled":
                pass
            case "paused scheduled":
                await self.act(campaign, "pause")
            case "sending":
                await self.begin(campaign)
            case "paused sending":
                await self.begin(campaign)
                await self.act(campaign, "pause")
            case "sent":
                await self.begin(campaign)
                await self.end(campaign, CampaignStatus.SENT)
            case "failed":
                await self.begin(campaign)
                failure = Failure("SEGMENT_NOT_FOUND", "Gone.")
                await self.end(campaign, CampaignStatus.FAILED, failure)
            case "cancelled":
                await self.act(campaign, "cancel")
            case _:
                raise AssertionError(state)
        return await self.seen(campaign)

    def without_temporal(self, app: FastAPI) -> "Desk":
        """The same project, where Temporal cannot be reached."""
        resources: Resources = app.state.resources
        away = create_app(replace(resources, temporal=NO_TEMPORAL))
        return replace(self, tenant=replace(self.tenant, client=open_client(away, self.tenant.key)))


def data_of(answer: httpx.Response) -> Json:
    assert answer.is_success, answer.text
    found: Json = answer.json()["data"]
    return found


def result_of(answer: httpx.Response) -> tuple[int, str | None]:
    """The status, and the code where it is an error."""
    code = None if answer.is_success else answer.json()["error"]["code"]
    return answer.status_code, code


def paths_of(answer: httpx.Response) -> list[str]:
    """Where the faults are."""
    return [fault["path"] for fault in answer.json()["error"]["details"]["fields"]]


def in_(**delay: float) -> str:
    """A time from now."""
    return (datetime.now(UTC) + timedelta(**delay)).isoformat().replace("+00:00", "Z")
