"""The ledger asked about one user: its rows, and why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import Response

from fanfare.db import campaigns
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.tables import push_batches, push_campaigns, push_deliveries, push_tokens
from fanfare.explanations.facts import AudienceVerdict
from fanfare.models import Content, ProjectCtx
from tests.api.conftest import Tenant, restricted

LATER = datetime.now(UTC) + timedelta(hours=1)
PRO = {"field": "properties.plan", "op": "eq", "value": "pro"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A project with the users `reached`, on the plan `pro`, and `missed`, on none; both have a
    device. The campaign went to whoever is on `pro`."""

    database: Database
    tenant: Tenant
    campaign_id: str
    reached: str

    async def ask(self, **query: str) -> Response:
        return await self.tenant.client.get(self.path, params=query)

    async def explanation(self, **query: str) -> Mapping[str, object]:
        found: Mapping[str, object] = (await self.ask(**query)).json()["explanation"]
        return found

    @property
    def path(self) -> str:
        return f"/admin/push/{self.campaign_id}/deliveries"


@pytest.fixture
async def scene(tenant: Tenant, database: Database) -> Scene:
    client = tenant.client
    segment = {"id": "seg_pro", "name": "Pro", "rules": PRO}
    await client.post("/admin/segments", json=segment)
    people = '{"external_id": "%s", "properties": {%s}, "push_tokens": [{"token": "%s"%s}]}'
    ios = ', "platform": "ios", "provider": "apns"'
    lines = [
        people % ("reached", '"plan": "pro"', "aa" * 32, ios),
        people % ("missed", "", "bb" * 32, ios),
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    await client.post("/admin/import", content="\n".join(lines), headers=headers)
    reached = (await client.get("/admin/users/reached")).json()["data"]["id"]
    campaign_id = await _send(database, ProjectCtx(UUID(tenant.project_id)), UUID(reached))
    return Scene(database, tenant, str(campaign_id), reached)


async def _send(database: Database, project: ProjectCtx, user_id: UUID) -> UUID:
    new = NewCampaign("n", Content("t", "b", {}), "seg_pro")
    devices = sa.select(push_tokens.c.id).where(push_tokens.c.app_user_id == user_id)
    frozen = {"status": "sent", "frozen_at": LATER, "frozen_rules": PRO, "audience": 1}
    async with database.transaction() as conn:
        campaign_id = (await campaigns.create(conn, project, new)).id
        is_campaign = push_campaigns.c.id == campaign_id
        place = {"project_id": project.project_id, "campaign_id": campaign_id}
        token_id = (await conn.execute(devices)).scalar_one()
        batch = {"number": 0, "lane": "apns", "token_ids": [token_id], "completed_at": LATER}
        await conn.execute(sa.update(push_campaigns).where(is_campaign).values(frozen))
        await conn.execute(sa.insert(push_batches).values(**place, **batch))
        sent = sa.insert(push_deliveries).values(**place, token_id=token_id, status="sent")
        await conn.execute(sent)
        return campaign_id


async def test_user_that_was_reached_has_rows_and_an_explanation(scene: Scene) -> None:
    answer = (await scene.ask(app_user_id=scene.reached)).json()

    explanation = answer["explanation"]
    device = explanation["devices"][0]
    assert [row["app_user_id"] for row in answer["data"]] == [scene.reached]
    assert explanation["verdict"] == "in_audience"
    assert explanation["external_id"] == "reached"
    assert (device["token_id"], device["status"]) == (answer["data"][0]["token_id"], "sent")
    assert "aa" * 32 not in str(answer)


async def test_user_that_was_not_reached_is_told_by_the_rule(scene: Scene) -> None:
    answer = (await scene.ask(external_id="missed")).json()

    explanation = answer["explanation"]
    assert answer["data"] == []
    assert explanation["verdict"] == "rule_does_not_match"
    assert explanation["in_audience"] is False
    assert explanation["rule"] == {
        "rules": "frozen",
        "matches": False,
        "tree": {**PRO, "matches": False},
    }
    assert explanation["evaluated_at"].endswith("Z")


async def test_external_id_finds_the_rows_of_its_user(scene: Scene) -> None:
    by_ours = (await scene.ask(app_user_id=scene.reached)).json()["data"]
    by_theirs = (await scene.ask(external_id="reached")).json()["data"]
    as_lines = await scene.ask(external_id="reached", format="ndjson")

    assert by_theirs == by_ours
    assert len(as_lines.text.splitlines()) == 1


async def test_who_is_named_twice_is_refused(scene: Scene) -> None:
    answer = await scene.ask(app_user_id=scene.reached, external_id="reached")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_INPUT"
    assert answer.json()["error"]["details"]["fields"][0]["path"] == "query.external_id"


async def test_user_that_does_not_exist_has_no_rows_and_is_no_error(scene: Scene) -> None:
    somebody = str(uuid4())

    by_ours = await scene.ask(app_user_id=somebody)
    by_theirs = await scene.ask(external_id="nobody")
    as_csv = await scene.ask(external_id="nobody", format="csv")

    assert (by_ours.status_code, by_theirs.status_code) == (200, 200)
    assert by_ours.json()["explanation"]["verdict"] == "user_not_found"
    assert by_ours.json()["explanation"]["app_user_id"] == somebody
    assert by_theirs.json()["data"] == []
    assert by_theirs.json()["explanation"]["app_user_id"] is None
    assert len(as_csv.text.splitlines()) == 1


async def test_user_of_another_project_is_not_found(scene: Scene, other_tenant: Tenant) -> None:
    await other_tenant.client.put("/admin/users/theirs", json={})
    theirs = (await other_tenant.client.get("/admin/users/theirs")).json()["data"]["id"]

    assert (await scene.explanation(app_user_id=theirs))["verdict"] == "user_not_found"
    assert (await scene.explanation(external_id="theirs"))["verdict"] == "user_not_found"


async def test_without_a_user_nothing_is_explained(scene: Scene) -> None:
    answer = (await scene.ask()).json()

    assert answer["explanation"] is None
    assert len(answer["data"]) == 1


async def test_key_that_may_not_read_the_audience_gets_the_rows_alone(
    scene: Scene, app: FastAPI
) -> None:
    async with await restricted(app, scene.tenant, "campaigns:read") as client:
        answer = await client.get(scene.path, params={"app_user_id": scene.reached})

    assert len(answer.json()["data"]) == 1
    assert answer.json()["explanation"] is None


async def test_the_largest_rule_is_explained(scene: Scene) -> None:
    leaf = {"field": "properties.a", "op": "in", "value": [f"v{n}" for n in range(100)]}
    rules = {"operator": "OR", "conditions": [leaf] * 99 + [PRO]}
    is_campaign = push_campaigns.c.id == UUID(scene.campaign_id)
    async with scene.database.transaction() as conn:
        changed = sa.update(push_campaigns).where(is_campaign).values(frozen_rules=rules)
        await conn.execute(changed)

    explanation = await scene.explanation(external_id="missed")

    tree = (await scene.ask(external_id="reached")).json()["explanation"]["rule"]["tree"]
    assert explanation["verdict"] == "rule_does_not_match"
    assert [each["matches"] for each in tree["conditions"]] == [False] * 99 + [True]


async def test_every_verdict_is_described(scene: Scene) -> None:
    document = (await scene.tenant.client.get("/openapi.json")).json()

    listing = document["components"]["schemas"]["DeliveryListing"]
    described = listing["properties"]["explanation"]["description"]
    assert [each for each in AudienceVerdict if f"* `{each}`: " not in described] == []
