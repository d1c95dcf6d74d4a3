"""What every answer is wrapped in."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from fanfare.db.rows import Page

T = TypeVar("T")


class Envelope(BaseModel, Generic[T]):
    """One thing."""

    data: T


class Listing(BaseModel, Generic[T]):
    """A page of things."""

    data: Sequence[T]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page; null at the end."
    )

    @classmethod
    def of(cls, page: Page[T]) -> "Listing[T]":
        """The page as it is answered."""
        return cls(data=page.items, next_cursor=page.next_cursor)


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="For a program.", examples=["INVALID_INPUT"])
    message: str = Field(description="For a person.")
    details: Mapping[str, object] | None = Field(
        default=None, description="`fields` says where an input is wrong, as `[{path, message}]`."
    )
    request_id: str | None = Field(description="As in the answer's X-Request-Id and in the log.")


class ErrorEnvelope(BaseModel):
    """An error, of whichever kind."""

    error: ErrorDetail


def documented_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's type
    """The error answers of a route, for its OpenAPI description."""
    return {
        status: {"model": ErrorEnvelope, "description": _MEANINGS[status]} for status in statuses
    }


ANY_ERROR: Mapping[int | str, Mapping[str, Any]] = {  # Any: FastAPI's type
    "default": {"model": ErrorEnvelope, "description": "Any other error has this body too."}
}
_MEANINGS = {
    400: "The input is not valid.",
    401: "No API key, or not a live one.",
    403: "The key lacks the scope, or belongs to another project.",
    404: "No such thing in this project.",
    409: "It cannot be done in this state.",
    413: "Too large.",
    415: "Not a Content-Type that is read here.",
    422: "It cannot be done with this input.",
    503: "Something we stand on is away; nothing was left half done. See Retry-After.",
}
