"""From a provider's outcome to what the ledger is to hold: the decision table, row by row."""

from dataclasses import dataclass
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

# After so many refusals that asked for another try, the last one stands.
MAX_ATTEMPTS = 5

# A message that may have been accepted is sent again once, and not before a late answer is out
# of the question.
AMBIGUOUS_DELAY = timedelta(seconds=30)

FIRST_DELAY = timedelta(seconds=1)
LONGEST_DELAY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Answered:
    """One claimed token, what became of it, and the moments between which it did."""

    token: ClaimedToken
    outcome: Outcome
    asked_at: datetime
    answered_at: datetime


def reason_to_skip(token: ClaimedToken) -> SkipReason | None:
    """Why a claimed token is not to be asked for, None where it is."""
    if token.token is None:
        return SkipReason.TOKEN_GONE
    if token.deactivated_reason == "moved":
        return SkipReason.TOKEN_MOVED
    return None if token.is_active else SkipReason.TOKEN_INACTIVE


def skip(settlement: Settlement, token: ClaimedToken, reason: SkipReason) -> None:
    """Note that the token is not asked for; `unknown` where it may have been, before."""
    if token.ambiguous:
        code, why = ErrorCode.NO_ANSWER, "interrupted"
        final = FinalOutcome(token.token_id, DeliveryStatus.UNKNOWN, code, why)
    else:
        final = FinalOutcome(token.token_id, DeliveryStatus.SKIPPED, reason=reason)
    _close(settlement, token, final)


def decide(settlement: Settlement, answered: Answered, on_unknown: OnUnknown) -> None:
    """Note what the outcome makes of the delivery and of the token."""
    match answered.outcome.verdict:
        case Verdict.SENT:
            _sent(settlement, answered)
        case Verdict.FAILED:
            _failed(settlement, answered)
        case Verdict.RETRY | Verdict.CREDENTIALS:
            _refused(settlement, answered)
        case Verdict.UNKNOWN:
            _unknown(settlement, answered, on_unknown)


def _sent(settlement: Settlement, answered: Answered) -> None:
    token = answered.token
    if token.suspicions:
        settlement.cleared.append(token.token_id)
    final = FinalOutcome(
        token.token_id,
        DeliveryStatus.SENT,
        reason=answered.outcome.reason,
        provider_message_id=answered.outcome.provider_message_id,
        possible_duplicate=token.ambiguous,
    )
    _close(settlement, token, final)


def _failed(settlement: Settlement, answered: Answered) -> None:
    token, outcome = answered.token, answered.outcome
    code = outcome.error_code
    match outcome.token_action:
        case TokenAction.DEACTIVATE_BEFORE:
            since = outcome.dead_since or answered.asked_at
            if token.registered_at is not None and token.registered_at > since:
                code = ErrorCode.SUPERSEDED
            else:
                settlement.dead.append(DeadToken(token.token_id, since))
        case TokenAction.QUARANTINE:
            settlement.suspect.append(token.token_id)
        case TokenAction.NONE:
            pass
    _close(settlement, token, _final(answered, DeliveryStatus.FAILED, code))


def _refused(settlement: Settlement, answered: Answered) -> None:
    """Definitely not accepted: owed, until it was refused too often.

    What the network or the credential refused says nothing about the message and is not counted.
    """
    token, outcome = answered.token, answered.outcome
    counts = outcome.error_code not in {ErrorCode.NETWORK, ErrorCode.CREDENTIALS}
    attempts = token.attempts + counts
    if attempts >= MAX_ATTEMPTS:
        final = _final(answered, DeliveryStatus.FAILED, outcome.error_code)
        return _close(settlement, token, final)
    delay = outcome.retry_after
    if delay is None:
        delay = min(FIRST_DELAY * 2**token.attempts, LONGEST_DELAY)
    due_at = answered.answered_at + delay
    return settlement.owed.append(OwedNote(token.token_id, due_at, attempts, token.ambiguous))


def _unknown(settlement: Settlement, answered: Answered, on_unknown: OnUnknown) -> None:
    token = answered.token
    if on_unknown is OnUnknown.SKIP or token.ambiguous:
        code = answered.outcome.error_code
        return _close(settlement, token, _final(answered, DeliveryStatus.UNKNOWN, code))
    due_at = answered.answered_at + AMBIGUOUS_DELAY
    note = OwedNote(token.token_id, due_at, token.attempts + 1, ambiguous=True)
    return settlement.owed.append(note)


def _final(answered: Answered, status: DeliveryStatus, code: ErrorCode | None) -> FinalOutcome:
    token = answered.token
    return FinalOutcome(
        token.token_id,
        status,
        error_code=code,
        reason=answered.outcome.reason,
        possible_duplicate=token.ambiguous,
    )


def _close(settlement: Settlement, token: ClaimedToken, final: FinalOutcome) -> None:
    settlement.final.append(final)
    if token.owed:
        settlement.retried.append(token.token_id)
