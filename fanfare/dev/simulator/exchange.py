"""The values that pass between the wire and the providers: what was asked, what is answered."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fanfare.models import Environment

if TYPE_CHECKING:
    from fanfare.dev.simulator.script import ScriptedAnswer

Field = tuple[bytes, bytes]
Headers = tuple[Field, ...]


class Endpoint(StrEnum):
    """Who is being simulated. OAuth is Google's token endpoint."""

    APNS = "apns"
    FCM = "fcm"
    OAUTH = "oauth"


class Request:
    """One request as it came. `body` is cut at `BODY_LIMIT`.

    `fields` are the header fields in their order, names in lower case, `:method` and `:path` among
    them. They are made a mapping only when somebody asks for it: most requests of a campaign are
    known by their fields.
    """

    __slots__ = ("_headers", "body", "environment", "fields")

    def __init__(self, fields: Headers, body: bytes, environment: Environment) -> None:
        self.fields = fields
        self.body = body
        self.environment = environment
        self._headers: Mapping[bytes, bytes] | None = None

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The fields by name; of a repeated one, the last counts."""
        if self._headers is None:
            self._headers = dict(self.fields)
        return self._headers

    @property
    def method(self) -> bytes:
        return self.headers[b":method"]

    @property
    def path(self) -> bytes:
        # Nearly every client names it fourth.
        if len(self.fields) > 3 and self.fields[3][0] == b":path":
            return self.fields[3][1]
        return self.headers[b":path"]

    @property
    def repeats_headers(self) -> bool:
        return len(self.headers) != len(self.fields)


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
