"""From what is known of a user and a campaign to one verdict.

The nearest cause wins: a user that is newer than the audience is not told about rules, and who has
no device at all is not told what else would have been in the way.
"""

from datetime import datetime
from typing import assert_never
from uuid import UUID

from fanfare.entities import Campaign
from fanfare.explanations.facts import (
    AudienceVerdict,
    Explanation,
    Facts,
    RulesUnavailable,
    RuleVerdict,
    Turn,
)
from fanfare.explanations.messages import UNKNOWN_USER, message
from fanfare.models import CampaignStatus

_HOPEFUL = frozenset(
    {
        AudienceVerdict.IN_AUDIENCE,
        AudienceVerdict.NOT_SENT_YET,
        AudienceVerdict.WAITING_FOR_TURN,
    }
)


def explain(facts: Facts) -> Explanation:
    """The answer for a user that exists."""
    verdict = _verdict(facts)
    due_at = facts.turn.due_at if verdict in _HOPEFUL else None
    return Explanation(
        app_user_id=facts.app_user_id,
        external_id=facts.external_id,
        verdict=verdict,
        message=message(verdict, facts),
        in_audience=verdict is AudienceVerdict.IN_AUDIENCE,
        due_at=due_at if due_at is not None and due_at > facts.evaluated_at else None,
        rule=facts.rule if isinstance(facts.rule, RuleVerdict) else None,
        evaluated_at=facts.evaluated_at,
        devices=facts.devices,
    )


def unknown_user(app_user_id: UUID | None, evaluated_at: datetime) -> Explanation:
    """The answer for a user that does not exist."""
    return Explanation(
        app_user_id=app_user_id,
        external_id=None,
        verdict=AudienceVerdict.USER_NOT_FOUND,
        message=UNKNOWN_USER,
        in_audience=False,
        due_at=None,
        rule=None,
        evaluated_at=evaluated_at,
        devices=(),
    )


def _verdict(facts: Facts) -> AudienceVerdict:
    if any(device.in_audience for device in facts.devices):
        return AudienceVerdict.IN_AUDIENCE
    if facts.turn.frozen_at is None:
        return _before_freeze(facts.campaign, facts.turn)
    return _after_freeze(facts, facts.turn.frozen_at)


def _before_freeze(campaign: Campaign, turn: Turn) -> AudienceVerdict:
    match campaign.status:
        case CampaignStatus.DRAFT | CampaignStatus.SCHEDULED:
            return AudienceVerdict.NOT_SENT_YET
        case _ if turn.is_past:
            return AudienceVerdict.LOCAL_TIME_PASSED
        case CampaignStatus.SENDING if campaign.timing.is_bucketed:
            return AudienceVerdict.WAITING_FOR_TURN
        case CampaignStatus.SENDING:
            return AudienceVerdict.NOT_SENT_YET
        case CampaignStatus.SENT | CampaignStatus.CANCELLED | CampaignStatus.FAILED:
            return AudienceVerdict.STOPPED_BEFORE_FREEZE
        case _:
            assert_never(campaign.status)


def _after_freeze(facts: Facts, frozen_at: datetime) -> AudienceVerdict:
    if facts.created_at > frozen_at:
        return AudienceVerdict.USER_CREATED_LATER
    if not facts.devices:
        return AudienceVerdict.NO_DEVICE
    if isinstance(facts.rule, RulesUnavailable):
        return AudienceVerdict.RULES_UNAVAILABLE
    if facts.rule is not None and not facts.rule.matches:
        return AudienceVerdict.RULE_DOES_NOT_MATCH
    return _by_devices(facts, frozen_at)


def _by_devices(facts: Facts, frozen_at: datetime) -> AudienceVerdict:
    registered = [device.registered_at for device in facts.devices if device.is_active]
    if not registered:
        return AudienceVerdict.NO_DEVICE
    if min(registered) > frozen_at:
        return AudienceVerdict.REGISTERED_LATER
    return AudienceVerdict.MATCHES_ONLY_NOW
