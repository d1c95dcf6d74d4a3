"""When what a provider refuses of one claim says that it would refuse the whole campaign."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fanfare.models import ErrorCode, Outcome, Verdict

# Headers and body are the same for all devices: so many that are refused for them, and none that
# is accepted, are no chance.
ENOUGH_ALIKE = 3
# The body is the same to the byte: one is enough.
ONE_IS_ENOUGH = frozenset({"PayloadTooLarge", "PayloadEmpty", "http_413"})
# A word that we do not know may be about the device; and FCM's word on the APNs key that Firebase
# holds is about iOS devices alone. Only where a whole canary says so is there nobody to go on for.
ENOUGH_IN_DOUBT = 20

_OUR_MESSAGE = frozenset({ErrorCode.PAYLOAD, ErrorCode.REQUEST})
_UNKNOWN_WORD = frozenset({ErrorCode.UNRECOGNISED})
_THIRD_PARTY = frozenset({ErrorCode.CREDENTIALS})


class CredentialsRefused(Exception):
    """The provider refused the credential: no message of it would be accepted.

    The text is the provider's word, or `clock_skew` where its clock is not ours.
    """


class MessageRefused(Exception):
    """The provider refuses what the campaign sends, or how: no device would be reached by it.

    The text is the provider's word.
    """


class _Kind(NamedTuple):
    verdict: Verdict
    code: ErrorCode
    reason: str


@dataclass(slots=True)
class Refusals:
    """What a claim's messages were refused for, and whether any was accepted.

    Costs tens of nanoseconds a message where all are accepted.
    """

    is_accepted: bool = False
    kinds: Counter[_Kind] = field(default_factory=Counter)

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from outcomes of the claim."""
        codes = {outcome.error_code for outcome in outcomes}
        # What is accepted has no code, and nothing else has none.
        self.is_accepted = self.is_accepted or None in codes
        if codes - {None}:
            self.kinds.update(
                _Kind(outcome.verdict, outcome.error_code, outcome.reason or "")
                for outcome in outcomes
                if outcome.error_code is not None
            )

    def check(self) -> None:
        """Raise CredentialsRefused or MessageRefused where no other message would fare better."""
        for kind in self.kinds:
            if kind.verdict is Verdict.CREDENTIALS:
                raise CredentialsRefused(kind.reason)
        if not self.is_accepted:
            _check_message(self._final(_OUR_MESSAGE))
            if (doubts := self._final(_UNKNOWN_WORD)).total() >= ENOUGH_IN_DOUBT:
                raise MessageRefused(_commonest(doubts))
            if (doubts := self._final(_THIRD_PARTY)).total() >= ENOUGH_IN_DOUBT:
                raise CredentialsRefused(_commonest(doubts))

    def _final(self, codes: frozenset[ErrorCode]) -> Counter[_Kind]:
        return Counter(
            {
                kind: count
                for kind, count in self.kinds.items()
                if kind.verdict is Verdict.FAILED and kind.code in codes
            }
        )


def _check_message(refused: Counter[_Kind]) -> None:
    is_certain = any(kind.reason in ONE_IS_ENOUGH for kind in refused)
    if is_certain or refused.total() >= ENOUGH_ALIKE:
        raise MessageRefused(_commonest(refused))


def _commonest(refused: Counter[_Kind]) -> str:
    [(kind, _)] = refused.most_common(1)
    return kind.reason
