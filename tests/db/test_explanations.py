"""Why a user got a campaign's message, or did not."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import sqlalchemy as sa

from fanfare.db import explanations
from fanfare.db.engine import Database
from fanfare.db.tables import push_batches
from fanfare.explanations import messages
from fanfare.explanations.facts import MEANINGS, AudienceVerdict, DeviceStatus, RulesOf
from fanfare.ids import new_id
from fanfare.models import ProjectCtx
from tests.db.audience_scene import AFTER, PRO, SEGMENT, Scene


@pytest.fixture
def scene(database: Database, project: ProjectCtx) -> Scene:
    return Scene(database, project)


def test_every_verdict_has_a_meaning_and_a_sentence() -> None:
    assert set(MEANINGS) == set(AudienceVerdict)
    assert set(messages.MESSAGES) == set(AudienceVerdict)


async def test_user_in_the_audience_is_told_of_each_device(scene: Scene) -> None:
    user = await scene.user()
    sent, failed, pending = [await scene.device(user) for _ in range(3)]
    left_out = await scene.device(user, is_active=False, deactivated_reason="unregistered")
    campaign = await scene.campaign()
    await scene.freeze(campaign, [sent, failed, pending])
    await scene.record(campaign, sent, "sent")
    await scene.record(campaign, failed, "failed", error_code="invalid_token", reason="Bad")

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.IN_AUDIENCE
    assert found.in_audience is True
    assert found.rule is None
    assert {device.token_id: (device.in_audience, device.status) for device in found.devices} == {
        sent: (True, DeviceStatus.SENT),
        failed: (True, DeviceStatus.FAILED),
        pending: (True, DeviceStatus.PENDING),
        left_out: (False, None),
    }
    assert found.message == (
        "The user was in the audience with 3 devices: 1 accepted by Apple, "
        "1 failed (invalid_token), 1 pending; the campaign is still being sent."
    )


async def test_device_whose_ledger_was_dropped_is_in_the_audience_without_a_status(
    scene: Scene,
) -> None:
    user = await scene.user()
    campaign = await scene.campaign()
    await scene.freeze(campaign, [await scene.device(user)])
    async with scene.database.transaction() as conn:
        is_its = push_batches.c.campaign_id == campaign.id
        await conn.execute(sa.update(push_batches).where(is_its).values(completed_at=AFTER))

    found = await scene.explain(campaign, user)

    assert [(device.in_audience, device.status) for device in found.devices] == [(True, None)]
    assert found.message == (
        "The user was in the audience with 1 device: 1 no longer in the ledger."
    )


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"status": "failed", "failure_code": "C", "failure_message": "m"}, "still owes"),
        ({"status": "cancelled"}, "was cancelled"),
        ({"paused_at": AFTER}, "is paused"),
    ],
)
async def test_pending_device_is_told_what_it_waits_for(
    scene: Scene, values: Mapping[str, object], why: str
) -> None:
    user = await scene.user()
    campaign = await scene.campaign()
    await scene.freeze(campaign, [await scene.device(user)])
    await scene.set(campaign, **values)

    found = await scene.explain(campaign, user)

    assert why in found.message


async def test_unknown_user_is_no_error(scene: Scene) -> None:
    campaign = await scene.campaign()
    somebody = new_id()

    found = await scene.explain(campaign, somebody)

    assert found.verdict is AudienceVerdict.USER_NOT_FOUND
    assert found.app_user_id == somebody
    assert found.devices == ()


async def test_user_of_another_project_is_not_found(scene: Scene, database: Database) -> None:
    user = await scene.user()
    elsewhere = replace(scene, project=ProjectCtx(new_id()))
    async with database.transaction() as conn:
        query = sa.text("INSERT INTO projects (id, name) VALUES (:id, 'another')")
        await conn.execute(query, {"id": elsewhere.project.project_id})
    campaign = await elsewhere.campaign()

    found = await elsewhere.explain(campaign, user)

    assert found.verdict is AudienceVerdict.USER_NOT_FOUND


async def test_draft_shows_the_outlook_by_the_present_rules(scene: Scene) -> None:
    await scene.segment()
    fits, fails = await scene.user("pro"), await scene.user("free")
    await scene.device(fits)
    campaign = await scene.campaign(SEGMENT)

    first, second = await scene.explain(campaign, fits), await scene.explain(campaign, fails)

    assert first.verdict is second.verdict is AudienceVerdict.NOT_SENT_YET
    assert first.rule is not None
    assert second.rule is not None
    assert (first.rule.rules, first.rule.matches) == (RulesOf.CURRENT, True)
    assert (second.rule.rules, second.rule.matches) == (RulesOf.CURRENT, False)
    assert first.message == ("The campaign is a draft; as things stand the user would get it.")
    assert second.message == (
        "The campaign is a draft; as things stand the user does not match the segment's rules."
    )


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"status": "cancelled"}, "ended as cancelled"),
        ({"status": "failed", "failure_code": "C", "failure_message": "No key."}, "No key."),
    ],
)
async def test_campaign_that_ended_before_the_freeze_reached_nobody(
    scene: Scene, values: Mapping[str, object], why: str
) -> None:
    user = await scene.user()
    campaign = await scene.campaign()
    await scene.set(campaign, **values)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.STOPPED_BEFORE_FREEZE
    assert why in found.message


async def test_user_that_is_newer_than_the_audience(scene: Scene) -> None:
    user = await scene.user("free", created_at=AFTER)
    await scene.segment()
    campaign = await scene.campaign(SEGMENT)
    await scene.freeze(campaign, [], frozen_rules=PRO)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.USER_CREATED_LATER


async def test_user_without_an_active_device(scene: Scene) -> None:
    without, inactive = await scene.user(), await scene.user()
    await scene.device(inactive, is_active=False, deactivated_reason="unregistered")
    campaign = await scene.campaign()
    await scene.freeze(campaign, [])

    none, dead = await scene.explain(campaign, without), await scene.explain(campaign, inactive)

    assert none.verdict is dead.verdict is AudienceVerdict.NO_DEVICE
    assert none.message == "The user has no device: none was ever registered."
    assert [device.deactivated_reason for device in dead.devices] == ["unregistered"]


async def test_device_that_registered_after_the_freeze(scene: Scene) -> None:
    user = await scene.user()
    await scene.device(user, registered_at=AFTER)
    await scene.device(user, is_active=False, deactivated_reason="unregistered")
    campaign = await scene.campaign()
    await scene.freeze(campaign, [])

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.REGISTERED_LATER
    assert found.message.endswith("none was active then.")


async def test_user_that_came_to_match_after_the_freeze(scene: Scene) -> None:
    await scene.segment()
    user = await scene.user()
    await scene.device(user)
    campaign = await scene.campaign(SEGMENT)
    await scene.freeze(campaign, [], frozen_rules=PRO)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.MATCHES_ONLY_NOW
    assert "matches the rules now, but did not" in found.message


async def test_no_more_devices_are_shown_than_a_person_reads(scene: Scene) -> None:
    user = await scene.user()
    ids = [
        await scene.device(user, is_active=False, deactivated_reason="moved")
        for _ in range(explanations.MAX_DEVICES)
    ]
    campaign = await scene.campaign()
    await scene.freeze(campaign, [])
    await scene.record(campaign, ids[0], "sent")
    newest = await scene.device(user)

    found = await scene.explain(campaign, user)

    shown = [device.token_id for device in found.devices]
    assert len(shown) == explanations.MAX_DEVICES
    assert shown[:2] == [ids[0], newest]
