"""One request on its way, and the three ways in which it can end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Header = tuple[bytes, bytes]
Headers = Sequence[Header]

# Providers answer in a few hundred bytes; more than this is noise, and noise must not cost memory.
MAX_ANSWER_BYTES = 64 * 1024


class Answer(NamedTuple):
    """The whole response. `body` is cut at `MAX_ANSWER_BYTES`.

    Neither headers nor body are shown by repr: a provider may echo what must not be logged.
    """

    status: int
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"


@dataclass(frozen=True, slots=True)
class NotProcessed:
    """The peer did not act on the request, by its own word or because it never got it.

    It is safe to send again.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request went out and no answer came: it may have been acted on."""

    reason: str


Result = Answer | NotProcessed | Unknown


# Takes a request's result while its connection is being read: it may not raise, and not submit.
OnResult = Callable[[Result], None]


class Exchange:
    """A request and who is told its result, from the queue to the last byte of the answer.

    `since` is the loop's time at which its present wait began: for a stream, then for an answer.
    `stream_id` is 0 until it has a stream. `reads_before` is how often its connection had heard
    from the peer when it went out.
    """

    __slots__ = (
        "_answer",
        "_chunks",
        "_on_result",
        "_size",
        "body",
        "headers",
        "own_headers",
        "path",
        "reads_before",
        "since",
        "stream_id",
    )

    def __init__(
        self,
        path: bytes,
        headers: Headers,
        own_headers: Headers,
        body: bytes,
        on_result: OnResult,
    ) -> None:
        self.path = path
        self.headers = headers
        self.own_headers = own_headers
        self.body = body
        self.since = 0.0
        self.stream_id = 0
        self.reads_before = 0
        self._on_result: OnResult | None = on_result
        self._answer: Headers = ()
        self._chunks: list[bytes] | None = None
        self._size = 0

    @property
    def is_over(self) -> bool:
        """Whether the result is known, or nobody waits for it any more."""
        return self._on_result is None

    @property
    def is_answering(self) -> bool:
        """Whether the response has begun."""
        return bool(self._answer)

    def begin_answer(self, headers: Headers) -> None:
        """Take the response's headers, `:status` first (RFC 9113, 8.3.2)."""
        self._answer = headers

    def add_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to `MAX_ANSWER_BYTES` of all of it."""
        if self._chunks is None:
            self._chunks = []
        kept = data[: MAX_ANSWER_BYTES - self._size]
        if kept:
            self._chunks.append(kept)
            self._size += len(kept)

    def finish_answer(self) -> None:
        """End as the answer that came; a status that is no number of three digits is 0."""
        headers = self._answer
        status = headers[0][1]
        body = b"".join(self._chunks) if self._chunks is not None else b""
        is_status = len(status) == 3 and status.isdigit()
        self.end(Answer(int(status) if is_status else 0, headers, body))

    def end(self, result: Result) -> None:
        """Tell the result; the first one counts."""
        on_result = self._on_result
        if on_result is not None:
            self.abandon()
            on_result(result)

    def abandon(self) -> None:
        """Tell nobody, and keep nothing of an answer."""
        self._on_result = None
        self._answer = ()
        self._chunks = None
