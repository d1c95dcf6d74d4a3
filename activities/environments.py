"""A token that APNs calls bad may belong to the app's other environment: one try there.

BadDeviceToken is what a sandbox token says in production, and the other way round (Apple,
"Handling notification responses from APNs"); a client that registered under the wrong name is
otherwise lost for good.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from activities.admission import Admission, giving_back
from activities.pace import CredentialReplaced, PaceClosed
from fanfare.errors import DatabaseUnavailable
from fanfare.models import Outcome, Target, TokenAction, Verdict
from fanfare.providers import Answered, Send

BAD_TOKEN = "BadDeviceToken"  # noqa: S105 - Apple's word

# How long a first answer is kept from the ledger for the sake of a second one. It must end while a
# worker that is being shut down still waits for what is on the wire.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class OtherWay:
    """A message's way to the other environment, and how it is held back there.

    `may_send`: whether the campaign is still sent, by the time that the way is free.
    """

    send: Send
    pace: Admission
    may_send: Callable[[], Awaitable[bool]]


def with_other(send: Send, other: OtherWay) -> Send:
    """`send`, and once more by `other` what was called a bad token; its outcome comes later.

    Accepted there, the token is to be remembered as the other environment's; perhaps accepted,
    nobody can tell; anything else proves nothing, and the first answer stands.
    """

    async def send_to_both(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        refused: dict[Target, Outcome] = {}
        async for group in send(targets):
            bad = {target: outcome for target, outcome in group if outcome.reason == BAD_TOKEN}
            refused.update(bad)
            yield [answered for answered in group if answered[0] not in bad]
        async for group in _try(refused, other):
            yield group

    return send_to_both


async def _try(
    refused: Mapping[Target, Outcome], other: OtherWay
) -> AsyncIterator[Sequence[Answered]]:
    left = list(refused)
    while left:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                admitted = await other.pace.admit(len(left))
            may_send = await _may_send(other, admitted)
        except (PaceClosed, CredentialReplaced, DatabaseUnavailable, TimeoutError):
            may_send = False
        if not may_send:
            yield [(target, refused[target]) for target in left]
            return
        asked, left = left[:admitted], left[admitted:]
        async for group in giving_back(other.send, other.pace)(asked):
            yield [(target, _merged(refused[target], said)) for target, said in group]


async def _may_send(other: OtherWay, admitted: int) -> bool:
    """Whether to go on; what was admitted goes back where not."""
    is_sent = False
    try:
        is_sent = await other.may_send()
    finally:
        if not is_sent:
            other.pace.done(admitted)
    return is_sent


def _merged(first: Outcome, second: Outcome) -> Outcome:
    match second.verdict:
        case Verdict.SENT:
            return second._replace(token_action=TokenAction.OTHER_ENVIRONMENT)
        case Verdict.UNKNOWN:
            return second
        case Verdict.FAILED | Verdict.RETRY | Verdict.CREDENTIALS:
            return first
