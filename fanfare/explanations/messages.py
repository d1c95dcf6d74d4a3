"""Each verdict as a plain sentence, for whoever has to answer the user."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, assert_never

from fanfare.explanations.facts import (
    AudienceVerdict,
    DeviceExplanation,
    DeviceStatus,
    Facts,
    RulesOf,
    RulesUnavailable,
    RuleVerdict,
)
from fanfare.models import CampaignStatus

UNKNOWN_USER: Final = "This project has no such user: there never was one, or it was deleted."

LOCAL_TIME_PASSED: Final = (
    "The campaign's local time had passed already in the user's time zone, so nothing is sent to "
    "the user."
)


def message(verdict: AudienceVerdict, facts: Facts) -> str:
    """The sentence for a verdict on these facts. It holds no token and nothing personal."""
    return MESSAGES[verdict](facts)


def _in_audience(facts: Facts) -> str:
    reached = [device for device in facts.devices if device.in_audience]
    ends = Counter(map(_end, reached))
    listed = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    devices = "1 device" if len(reached) == 1 else f"{len(reached)} devices"
    is_pending = any(device.status is DeviceStatus.PENDING for device in reached)
    why = f"; {_why_pending(facts)}" if is_pending else ""
    return f"The user was in the audience with {devices}: {listed}{why}."


def _end(device: DeviceExplanation) -> str:
    match device.status:
        case None:
            return "no longer in the ledger"
        case DeviceStatus.SENT:
            return "accepted by Apple" if device.provider == "apns" else "accepted by Google"
        case DeviceStatus.PENDING:
            return "pending"
        case DeviceStatus.FAILED | DeviceStatus.SKIPPED | DeviceStatus.UNKNOWN:
            why = device.error_code or device.reason
            return f"{device.status} ({why})" if why else device.status.value
        case _:
            assert_never(device.status)


def _why_pending(facts: Facts) -> str:
    campaign, due_at = facts.campaign, facts.turn.due_at
    if campaign.status is CampaignStatus.FAILED:
        return "the campaign failed, and still owes what is pending"
    if campaign.status is CampaignStatus.CANCELLED:
        return "the campaign was cancelled"
    if campaign.paused_at is not None:
        return "the campaign is paused"
    if due_at is not None and due_at > facts.evaluated_at:
        return f"its delivery window opens at {_spelt(due_at)}"
    return "the campaign is still being sent"


def _standing(facts: Facts) -> str:
    due_at = facts.turn.due_at
    when = "" if due_at is None else f"; the user's turn comes at {_spelt(due_at)}"
    paused = "" if facts.campaign.paused_at is None else " and paused"
    match facts.campaign.status:
        case CampaignStatus.DRAFT:
            return f"The campaign is a draft{when}"
        case CampaignStatus.SCHEDULED:
            return f"The campaign is scheduled{paused}{when}"
        case _:
            return f"The campaign is being sent{paused}, but not yet to this user{when}"


def _not_yet(facts: Facts) -> str:
    return f"{_standing(facts)}; {_outlook(facts)}."


def _outlook(facts: Facts) -> str:
    if facts.turn.is_past:
        return "its local time has passed already in the user's time zone"
    if isinstance(facts.rule, RulesUnavailable):
        return f"it will fail as things stand: {facts.rule.why}"
    if facts.rule is not None and not facts.rule.matches:
        return f"as things stand the user does not match {_rules(facts)}"
    if not any(device.is_active for device in facts.devices):
        return "as things stand the user has no active device"
    return "as things stand the user would get it"


def _stopped(facts: Facts) -> str:
    campaign = facts.campaign
    if campaign.failure is not None and campaign.status is CampaignStatus.FAILED:
        return f"The campaign failed before the user's turn came: {campaign.failure.message}"
    return f"The campaign ended as {campaign.status} before the user's turn came."


def _created_later(facts: Facts) -> str:
    return f"The user was created after the audience was frozen{_frozen_when(facts)}."


def _no_device(facts: Facts) -> str:
    if not facts.devices:
        return "The user has no device: none was ever registered."
    return "None of the user's devices is active; `deactivated_reason` says why of each."


def _rules_unavailable(facts: Facts) -> str:
    why = facts.rule.why if isinstance(facts.rule, RulesUnavailable) else "there are no rules"
    return f"The user was not in the audience, and nobody can say why: {why}."


def _does_not_match(facts: Facts) -> str:
    return f"The user does not match {_rules(facts)}."


def _rules(facts: Facts) -> str:
    if isinstance(facts.rule, RuleVerdict) and facts.rule.rules is RulesOf.FROZEN:
        return f"the segment's rules as they were when the audience was frozen{_frozen_when(facts)}"
    if facts.turn.frozen_at is not None:
        return "the segment's present rules; those of the freeze were not kept"
    return "the segment's rules"


def _registered_later(facts: Facts) -> str:
    later = (
        "Every active device of the user registered, or registered again, after the audience was "
        f"frozen{_frozen_when(facts)}"
    )
    if facts.rule is None:
        return f"{later}; none was active then."
    return f"{later}; none was active then, or the user did not match the rules yet."


def _matches_only_now(facts: Facts) -> str:
    if facts.rule is None:
        return (
            "The user has a device that is active now, but it was not when the audience was "
            f"frozen{_frozen_when(facts)}, or the user's time zone changed since."
        )
    return (
        "The user matches the rules now, but did not when the audience was "
        f"frozen{_frozen_when(facts)}."
    )


def _frozen_when(facts: Facts) -> str:
    frozen_at = facts.turn.frozen_at
    return "" if frozen_at is None else f" at {_spelt(frozen_at)}"


def _spelt(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


MESSAGES: Final[Mapping[AudienceVerdict, Callable[[Facts], str]]] = {
    AudienceVerdict.IN_AUDIENCE: _in_audience,
    AudienceVerdict.USER_NOT_FOUND: lambda _: UNKNOWN_USER,
    AudienceVerdict.NOT_SENT_YET: _not_yet,
    AudienceVerdict.WAITING_FOR_TURN: _not_yet,
    AudienceVerdict.LOCAL_TIME_PASSED: lambda _: LOCAL_TIME_PASSED,
    AudienceVerdict.STOPPED_BEFORE_FREEZE: _stopped,
    AudienceVerdict.USER_CREATED_LATER: _created_later,
    AudienceVerdict.NO_DEVICE: _no_device,
    AudienceVerdict.RULES_UNAVAILABLE: _rules_unavailable,
    AudienceVerdict.RULE_DOES_NOT_MATCH: _does_not_match,
    AudienceVerdict.REGISTERED_LATER: _registered_later,
    AudienceVerdict.MATCHES_ONLY_NOW: _matches_only_now,
}
