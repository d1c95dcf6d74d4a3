"""What sends to phones: one protocol, APNs and FCM behind it, one HTTP/2 transport under both."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from fanfare.models import Content, Outcome, Target

Answered = tuple[Target, Outcome]
# Puts a message to each of some thousand targets at most on the wire, as fast as the provider's
# limits let it, and hands out what becomes known in groups: each target in exactly one, the end
# when all are known. Closing the iterator early, or cancelling, resets what is still open: whether
# those messages were acted on is then unknown.
Send = Callable[[Sequence[Target]], AsyncIterator[Sequence[Answered]]]


@dataclass(frozen=True, slots=True)
class Notification:
    """What one campaign (or one test push) says, and until when.

    `notification_id` is the campaign's id (the test push's id): apns-id and the collapse value
    are derived from it, so that every attempt at one device carries the same ones.
    """

    notification_id: UUID
    content: Content
    expires_at: datetime | None = None


class Provider(Protocol):
    """One credential's way to its provider.

    An adapter never retries and never raises for one message: whatever happens to it is its
    Outcome. Many sends may run at once; the transport holds them back where the provider's
    limits say so.
    """

    def prepare(self, notification: Notification) -> Send:
        """Render what is the same for every device once; the result sends it to many."""
        ...

    async def close(self) -> None:
        """Wait for what is on the wire (at most the request deadline), then close."""
        ...
