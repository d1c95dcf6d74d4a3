"""What is known of one user in one campaign, and the answer that is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from fanfare.entities import Campaign
from fanfare.models import DeliveryStatus, Environment, Platform, ProviderName
from fanfare.segments.verdicts import ConditionVerdict


class AudienceVerdict(StrEnum):
    """What became of one user in one campaign. `MEANINGS` says what each is."""

    IN_AUDIENCE = "in_audience"
    USER_NOT_FOUND = "user_not_found"
    NOT_SENT_YET = "not_sent_yet"
    WAITING_FOR_TURN = "waiting_for_turn"
    LOCAL_TIME_PASSED = "local_time_passed"
    STOPPED_BEFORE_FREEZE = "stopped_before_freeze"
    USER_CREATED_LATER = "user_created_later"
    NO_DEVICE = "no_device"
    RULES_UNAVAILABLE = "rules_unavailable"
    RULE_DOES_NOT_MATCH = "rule_does_not_match"
    REGISTERED_LATER = "registered_later"
    MATCHES_ONLY_NOW = "matches_only_now"


MEANINGS: Final[Mapping[AudienceVerdict, str]] = {
    AudienceVerdict.IN_AUDIENCE: "`devices` say what became of each of the user's devices",
    AudienceVerdict.USER_NOT_FOUND: "no such user, or one that was deleted",
    AudienceVerdict.NOT_SENT_YET: "the audience is still to be decided; `rule` is the outlook",
    AudienceVerdict.WAITING_FOR_TURN: "other time zones came first; the user's is at `due_at`",
    AudienceVerdict.LOCAL_TIME_PASSED: "it was too late already in the user's time zone",
    AudienceVerdict.STOPPED_BEFORE_FREEZE: "cancelled or failed before the user's turn came",
    AudienceVerdict.USER_CREATED_LATER: "the user came after the audience was frozen",
    AudienceVerdict.NO_DEVICE: "the user has no active device",
    AudienceVerdict.RULES_UNAVAILABLE: "the segment's rules are gone, or cannot be read",
    AudienceVerdict.RULE_DOES_NOT_MATCH: "`rule` shows which conditions the user fails",
    AudienceVerdict.REGISTERED_LATER: "every active device registered after the freeze",
    AudienceVerdict.MATCHES_ONLY_NOW: "all fits now, but did not when the audience was frozen",
}


class RulesOf(StrEnum):
    """Which rules were evaluated: the campaign's, kept at the freeze, or the segment's present."""

    FROZEN = "frozen"
    CURRENT = "current"


class DeviceStatus(StrEnum):
    """A device's place in the ledger. `pending`: in the audience, its end still unknown."""

    PENDING = "pending"
    SENT = DeliveryStatus.SENT.value
    FAILED = DeliveryStatus.FAILED.value
    SKIPPED = DeliveryStatus.SKIPPED.value
    UNKNOWN = DeliveryStatus.UNKNOWN.value


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """Whether a segment's rules match the user now, and how each condition fares."""

    rules: RulesOf
    matches: bool
    tree: ConditionVerdict


@dataclass(frozen=True, slots=True)
class RulesUnavailable:
    """There are rules, but nobody can evaluate them. `why` completes a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class DeviceExplanation:
    """One device of the user's, and what became of it in the campaign.

    `status` is null outside the audience, and where the ledger of that time was dropped.
    """

    token_id: int
    platform: Platform
    provider: ProviderName
    environment: Environment
    is_active: bool
    deactivated_reason: str | None
    registered_at: datetime
    in_audience: bool
    status: DeviceStatus | None
    error_code: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of one user in one campaign; `message` is a sentence for a person.

    `rule` is of `evaluated_at`, and null for a broadcast. `due_at` is when the user's turn comes,
    where that is ahead.
    """

    app_user_id: UUID | None
    external_id: str | None
    verdict: AudienceVerdict
    message: str
    in_audience: bool
    due_at: datetime | None
    rule: RuleVerdict | None
    evaluated_at: datetime
    devices: Sequence[DeviceExplanation]


@dataclass(frozen=True, slots=True)
class Turn:
    """When a campaign comes to one user: at `due_at`, None before it has a time.

    `is_past`: never, its local time has passed in the user's zone. `frozen_at`: when the audience
    of the user's zone was written down.
    """

    due_at: datetime | None = None
    is_past: bool = False
    frozen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a user and a campaign."""

    campaign: Campaign
    app_user_id: UUID
    external_id: str
    created_at: datetime
    rule: RuleVerdict | RulesUnavailable | None
    turn: Turn
    evaluated_at: datetime
    devices: Sequence[DeviceExplanation]
