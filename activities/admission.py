"""How a message's way to its provider is held back, and how what went out is given back."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from fanfare.models import Outcome, Target
from fanfare.providers import Answered, Send


class Admission(Protocol):
    """When, and how many at once: see `pace.Pace`."""

    async def admit(self, wanted: int) -> int:
        """Wait until something may go out. Returns how many."""

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        """Give admitted messages back with their outcomes."""

    def done(self, count: int) -> None:
        """Give admitted messages back without."""


def giving_back(send: Send, pace: Admission) -> Send:
    """`send` for messages that were admitted: each goes back to the pace as soon as it may.

    That is with its answer, before anything else is asked because of it.
    """

    async def send_admitted(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        unanswered = len(targets)
        try:
            async for group in send(targets):
                pace.answered([outcome for _, outcome in group])
                unanswered -= len(group)
                yield group
        finally:
            pace.done(unanswered)

    return send_admitted
