"""What a campaign's rules say of one user."""

from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database
from fanfare.explanations.facts import AudienceVerdict, RulesOf
from fanfare.models import ProjectCtx
from fanfare.segments.grammar import Leaf
from fanfare.segments.operators import Operator
from fanfare.segments.verdicts import GroupVerdict, LeafVerdict
from tests.db.audience_scene import PRO, SEGMENT, Scene


@pytest.fixture
def scene(database: Database, project: ProjectCtx) -> Scene:
    return Scene(database, project)


async def test_rules_of_the_freeze_count_and_not_those_of_today(scene: Scene) -> None:
    await scene.segment({"operator": "AND", "conditions": []})
    user = await scene.user("free")
    await scene.device(user)
    campaign = await scene.campaign(SEGMENT)
    await scene.freeze(campaign, [], frozen_rules=PRO)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.RULE_DOES_NOT_MATCH
    assert found.rule is not None
    assert found.rule.rules is RulesOf.FROZEN
    assert found.rule.tree == LeafVerdict("properties.plan", Operator.EQ, "pro", matches=False)
    assert "as they were when the audience was frozen" in found.message


async def test_old_campaign_is_judged_by_the_present_rules_and_says_so(scene: Scene) -> None:
    await scene.segment()
    user = await scene.user("free")
    await scene.device(user)
    campaign = await scene.campaign(SEGMENT)
    await scene.freeze(campaign, [])

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.RULE_DOES_NOT_MATCH
    assert found.rule is not None
    assert found.rule.rules is RulesOf.CURRENT
    assert "those of the freeze were not kept" in found.message


async def test_tree_mirrors_the_rule(scene: Scene) -> None:
    phone: Mapping[str, object] = {"field": "phone", "op": "not_exists"}
    device: Mapping[str, object] = {"field": "device.platform", "op": "in", "value": ["android"]}
    negated = {"operator": "NOT", "conditions": [phone]}
    either = {"operator": "OR", "conditions": [negated, device]}
    rules = {"operator": "AND", "conditions": [PRO, either]}
    user = await scene.user("pro")
    await scene.device(user)
    await scene.segment()
    campaign = await scene.campaign(SEGMENT)
    await scene.freeze(campaign, [], frozen_rules=rules)

    found = await scene.explain(campaign, user)

    no_phone = LeafVerdict("phone", Operator.NOT_EXISTS, None, matches=True)
    android = LeafVerdict("device.platform", Operator.IN, ("android",), matches=False)
    has_phone = GroupVerdict("NOT", matches=False, conditions=(no_phone,))
    neither = GroupVerdict("OR", matches=False, conditions=(has_phone, android))
    pro = LeafVerdict("properties.plan", Operator.EQ, "pro", matches=True)
    assert found.rule is not None
    assert found.rule.tree == GroupVerdict("AND", matches=False, conditions=(pro, neither))


async def test_empty_groups_are_everyone_and_nobody(scene: Scene) -> None:
    nobody: Mapping[str, object] = {"operator": "OR", "conditions": []}
    rules = {"operator": "AND", "conditions": [nobody, {"operator": "AND", "conditions": []}]}
    user = await scene.user()
    await scene.segment(rules)
    campaign = await scene.campaign(SEGMENT)

    found = await scene.explain(campaign, user)

    none = GroupVerdict("OR", matches=False, conditions=())
    everyone = GroupVerdict("AND", matches=True, conditions=())
    assert found.rule is not None
    assert found.rule.tree == GroupVerdict("AND", matches=False, conditions=(none, everyone))


@pytest.mark.parametrize(
    ("rules", "why"),
    [(None, "segment was deleted"), ({"field": "shoe_size", "op": "eq"}, "cannot read")],
)
async def test_rules_that_nobody_can_read_are_said_to_be_so(
    scene: Scene, rules: Mapping[str, object] | None, why: str
) -> None:
    user = await scene.user()
    await scene.device(user)
    campaign = await scene.campaign("seg_gone")
    await scene.freeze(campaign, [], frozen_rules=sa.null() if rules is None else rules)

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.RULES_UNAVAILABLE
    assert found.rule is None
    assert why in found.message


async def test_draft_with_rules_that_nobody_can_read_is_bound_to_fail(scene: Scene) -> None:
    user = await scene.user()
    campaign = await scene.campaign("seg_gone")

    found = await scene.explain(campaign, user)

    assert found.verdict is AudienceVerdict.NOT_SENT_YET
    assert "it will fail as things stand: its segment was deleted" in found.message


def test_leaf_of_the_grammar_is_a_leaf_of_the_verdict() -> None:
    assert set(Leaf.model_fields) < set(LeafVerdict.__dataclass_fields__)
