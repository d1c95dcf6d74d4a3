"""The values that pass between the wire and the providers: what was asked, what is answered."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fanfare.models import Environment

if TYPE_CHECKING:
    from fanfare.dev.simulator.script import ScriptedAnswer

Headers = tuple[tuple[bytes, bytes], ...]


class Endpoint(StrEnum):
    """Who is being simulated. OAuth is Google's token endpoint."""

    APNS = "apns"
    FCM = "fcm"
    OAUTH = "oauth"


class Request(NamedTuple):
    """One request as it came. Header names are lower case; of a repeated one, the last counts.

    `repeats_headers` says that there was a repeated one. `body` is cut at `BODY_LIMIT`.
    """

    method: bytes
    path: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    environment: Environment
    repeats_headers: bool = False


class Answer(NamedTuple):
    """A status, its headers and its body, the same over HTTP/2 and HTTP/1.1."""

    status: int
    headers: Headers = ()
    body: bytes = b""


class Refusal(NamedTuple):
    """Why a provider says no, in its own word.

    `retry_after` is in seconds, `timestamp_ms` in milliseconds since the epoch.
    """

    status: int
    reason: str
    retry_after: int | None = None
    timestamp_ms: int | None = None


class Reply(NamedTuple):
    """An answer, and how it is to be given.

    `authenticated` says that the request's token was good, which lifts the limit of one stream.
    `plan` is the script's word on delay and on what happens to the stream or the connection;
    None, the plain case, is to answer at once.
    """

    answer: Answer
    authenticated: bool = False
    plan: "ScriptedAnswer | None" = None


class Replies(Protocol):
    """Whoever can answer a request. The wire knows providers by nothing else."""

    def reply(self, request: Request) -> Reply: ...


# Larger than any payload that a provider takes, so that "too large" can still be told.
BODY_LIMIT = 65_536
