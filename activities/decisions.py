"""From a provider's outcome to what the ledger is to hold: the decision table, row by row."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fanfare.db.claims import ClaimedToken
from fanfare.db.deliveries import FinalOutcome
from fanfare.db.ledger import Settlement
from fanfare.db.owed import OwedNote
from fanfare.db.verdicts import DeadToken
from fanfare.models import (
    DeliveryStatus,
    ErrorCode,
    OnUnknown,
    Outcome,
    SkipReason,
    TokenAction,
    Verdict,
)
from fanfare.providers.outcomes import APNS_PATIENCE, QUOTAS

# After so many refusals that asked for another try, the last one stands. With waits that double
# from FCM's 10 s that is within minutes, well before Google's "stop after 60 minutes".
MAX_ATTEMPTS = 5
# A device that is sent too much gets three more tries.
MAX_DEVICE_ATTEMPTS = 4

# A message that may have been accepted is sent again once, and not before a late answer is out
# of the question.
AMBIGUOUS_DELAY = timedelta(seconds=30)

DEFAULT_DELAY = timedelta(seconds=1)
# Waits double up to ten minutes; those that begin above that, as Apple's quarter of an hour does,
# up to an hour.
LONGEST_DELAY = timedelta(minutes=10)
LONGEST_PATIENCE = timedelta(hours=1)
# What is added at random is as much as the wait itself, and no more than this.
LONGEST_SPREAD = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Moments:
    """When some messages went out, and when their outcomes were known.

    `chance`, 0 to 1, says where in the spread of their waits they return: together, so that they
    are one claim, and apart from others that were refused at that moment.
    """

    asked_at: datetime
    answered_at: datetime
    chance: float = field(default_factory=random.random)


def reason_to_skip(token: ClaimedToken) -> SkipReason | None:
    """Why a claimed token is not to be asked for, None where it is."""
    if token.is_active:
        return None
    if token.token is None:
        return SkipReason.TOKEN_GONE
    if token.deactivated_reason == "moved":
        return SkipReason.TOKEN_MOVED
    return SkipReason.TOKEN_INACTIVE


def skip(settlement: Settlement, token: ClaimedToken, reason: SkipReason) -> None:
    """Note that the token is not asked for; `unknown` where it may have been, before."""
    if token.ambiguous:
        final = _final(token, DeliveryStatus.UNKNOWN, ErrorCode.NO_ANSWER, "interrupted")
    else:
        final = _final(token, DeliveryStatus.SKIPPED, None, reason)
    _close(settlement, token, final)


def decide(
    settlement: Settlement,
    token: ClaimedToken,
    outcome: Outcome,
    moments: Moments,
    on_unknown: OnUnknown,
) -> None:
    """Note what the outcome makes of the delivery and of the token."""
    match outcome.verdict:
        case Verdict.SENT:
            _sent(settlement, token, outcome)
        case Verdict.FAILED:
            _failed(settlement, token, outcome, moments)
        case Verdict.RETRY | Verdict.CREDENTIALS:
            _refused(settlement, token, outcome, moments)
        case Verdict.UNKNOWN:
            _unknown(settlement, token, outcome, moments, on_unknown)


def _sent(settlement: Settlement, token: ClaimedToken, outcome: Outcome) -> None:
    if token.suspicions:
        settlement.cleared.append(token.token_id)
    if outcome.token_action is TokenAction.OTHER_ENVIRONMENT:
        settlement.moved.append(token.token_id)
    message_id = outcome.provider_message_id
    final = _final(token, DeliveryStatus.SENT, None, outcome.reason, message_id)
    _close(settlement, token, final)


def _failed(
    settlement: Settlement, token: ClaimedToken, outcome: Outcome, moments: Moments
) -> None:
    code = outcome.error_code
    match outcome.token_action:
        case TokenAction.DEACTIVATE_BEFORE:
            since = outcome.dead_since or moments.asked_at
            if token.registered_at is not None and token.registered_at > since:
                code = ErrorCode.SUPERSEDED
            else:
                settlement.dead.append(DeadToken(token.token_id, since))
        case TokenAction.QUARANTINE if not token.ambiguous:
            settlement.suspect.append(token.token_id)
        # What ends as `unknown` is not taken back with a wrong credential; so it accuses nobody.
        case TokenAction.QUARANTINE | TokenAction.NONE | TokenAction.OTHER_ENVIRONMENT:
            pass
    _close(settlement, token, _refusal(token, outcome, code))


def _refused(
    settlement: Settlement, token: ClaimedToken, outcome: Outcome, moments: Moments
) -> None:
    """Definitely not accepted: owed, until it was refused too often."""
    attempts = token.attempts + (not _is_blameless(outcome))
    if attempts >= _most_attempts(outcome):
        return _close(settlement, token, _refusal(token, outcome, outcome.error_code))
    # An attempt of which the answer was lost was refused by nobody.
    refused = max(0, token.attempts - token.ambiguous)
    due_at = moments.answered_at + _delay(outcome, refused, moments.chance)
    note = OwedNote(token.token_id, due_at, attempts, token.ambiguous)
    return settlement.owed.append(note)


def _is_blameless(outcome: Outcome) -> bool:
    """Whether the refusal says nothing about the message, so that it is not counted as a try.

    So with what the network did, what a credential is refused for, and the rate of all messages.
    """
    if outcome.error_code is ErrorCode.THROTTLED:
        return _quota(outcome) == "project"
    return outcome.error_code in {ErrorCode.NETWORK, ErrorCode.CREDENTIALS}


def _most_attempts(outcome: Outcome) -> int:
    is_device = outcome.error_code is ErrorCode.THROTTLED and _quota(outcome) == "device"
    return MAX_DEVICE_ATTEMPTS if is_device else MAX_ATTEMPTS


def _quota(outcome: Outcome) -> str | None:
    return QUOTAS.get(outcome.reason or "")


def _delay(outcome: Outcome, refused: int, chance: float) -> timedelta:
    """What the provider, or its row in the table, asks for; twice that with every time that it
    refused the message before."""
    asked = outcome.retry_after if outcome.retry_after is not None else DEFAULT_DELAY
    if outcome.reason == "Shutdown" and refused:
        # One try at once, over another connection; then Apple's usual patience.
        asked, refused = APNS_PATIENCE, refused - 1
    longest = LONGEST_DELAY if asked <= LONGEST_DELAY else LONGEST_PATIENCE
    wait: timedelta = min(asked * 2.0**refused, longest)
    return wait + min(wait, LONGEST_SPREAD) * chance


def _unknown(
    settlement: Settlement,
    token: ClaimedToken,
    outcome: Outcome,
    moments: Moments,
    on_unknown: OnUnknown,
) -> None:
    if on_unknown is OnUnknown.SKIP or token.ambiguous:
        final = _final(token, DeliveryStatus.UNKNOWN, outcome.error_code, outcome.reason)
        return _close(settlement, token, final)
    due_at = moments.answered_at + AMBIGUOUS_DELAY
    note = OwedNote(token.token_id, due_at, token.attempts + 1, ambiguous=True)
    return settlement.owed.append(note)


def _refusal(token: ClaimedToken, outcome: Outcome, code: str | None) -> FinalOutcome:
    """How a refused message ends: `unknown` where an attempt before may have been accepted."""
    status = DeliveryStatus.UNKNOWN if token.ambiguous else DeliveryStatus.FAILED
    return _final(token, status, code, outcome.reason)


def _final(
    token: ClaimedToken,
    status: DeliveryStatus,
    code: str | None,
    reason: str | None,
    message_id: str | None = None,
) -> FinalOutcome:
    return FinalOutcome(token.token_id, token.ambiguous, status, code, reason, message_id)


def _close(settlement: Settlement, token: ClaimedToken, final: FinalOutcome) -> None:
    settlement.final.append(final)
    if token.owed:
        settlement.retried.append(token.token_id)
