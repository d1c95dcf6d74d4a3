"""A project with users, devices and a campaign, put together row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from fanfare.db import campaigns, explanations
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.tables import (
    app_users,
    push_batches,
    push_buckets,
    push_campaigns,
    push_deliveries,
    push_tokens,
    segments,
)
from fanfare.entities import Campaign, Timing
from fanfare.explanations.facts import Explanation
from fanfare.ids import new_id
from fanfare.models import Content, ProjectCtx

HOUR = timedelta(hours=1)
FROZEN_AT = datetime.now(UTC).replace(microsecond=0) - HOUR
BEFORE = FROZEN_AT - HOUR
AFTER = FROZEN_AT + timedelta(minutes=1)
TOMORROW = FROZEN_AT + timedelta(days=1)

PRO: Mapping[str, object] = {"field": "properties.plan", "op": "eq", "value": "pro"}
SEGMENT = "seg_pro"


@dataclass(frozen=True, slots=True)
class Scene:
    """A project, and what a test puts into it."""

    database: Database
    project: ProjectCtx

    async def user(
        self, plan: str = "pro", created_at: datetime = BEFORE, timezone: str | None = None
    ) -> UUID:
        user_id = new_id()
        values = {"properties": {"plan": plan}, "created_at": created_at, "timezone": timezone}
        await self._insert(app_users, id=user_id, external_id=str(user_id), **values)
        return user_id

    async def device(self, user_id: UUID, **values: object) -> int:
        place = {"app_user_id": user_id, "token": str(new_id()), "registered_at": BEFORE}
        what = {"platform": "ios", "provider": "apns", "environment": "production"}
        statement = sa.insert(push_tokens).values(
            {"project_id": self.project.project_id, **place, **what, **values}
        )
        async with self.database.transaction() as conn:
            found = await conn.execute(statement.returning(push_tokens.c.id))
            return int(found.scalar_one())

    async def segment(self, rules: Mapping[str, object] = PRO) -> None:
        await self._insert(segments, id=SEGMENT, name=SEGMENT, rules=rules)

    async def campaign(
        self, segment_id: str | None = None, timing: Timing | None = None
    ) -> Campaign:
        new = NewCampaign("n", Content("t", "b", {}), segment_id, timing or Timing())
        async with self.database.transaction() as conn:
            return await campaigns.create(conn, self.project, new)

    async def set(self, campaign: Campaign, **values: object) -> None:
        is_campaign = campaigns.is_campaign(self.project, campaign.id)
        async with self.database.transaction() as conn:
            await conn.execute(sa.update(push_campaigns).where(*is_campaign).values(values))

    async def freeze(self, campaign: Campaign, token_ids: Sequence[int], **values: object) -> None:
        """Begin the sending to these devices, in one batch."""
        place = {"campaign_id": campaign.id, "number": 0, "lane": "apns"}
        await self.set(campaign, status="sending", frozen_at=FROZEN_AT, **values)
        await self._insert(push_batches, token_ids=list(token_ids), **place)

    async def bucket(self, campaign: Campaign, zones: list[str], **values: object) -> None:
        moments = {"fires_at": TOMORROW, "opens_at": TOMORROW}
        place = {"campaign_id": campaign.id, "number": len(zones)}
        await self._insert(push_buckets, timezones=zones, **place, **{**moments, **values})

    async def record(self, campaign: Campaign, token_id: int, status: str, **why: str) -> None:
        place = {"campaign_id": campaign.id, "token_id": token_id}
        await self._insert(push_deliveries, status=status, **place, **why)

    async def explain(self, campaign: Campaign, user_id: UUID) -> Explanation:
        async with self.database.transaction() as conn:
            now = await campaigns.get(conn, self.project, campaign.id)
            return await explanations.of_user(conn, self.project, now, user_id)

    async def _insert(self, table: sa.Table, **values: object) -> None:
        row = {"project_id": self.project.project_id, **values}
        async with self.database.transaction() as conn:
            await conn.execute(sa.insert(table).values(row))
