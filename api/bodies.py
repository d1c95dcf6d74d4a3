"""Request bodies: read up to a limit, and decoded without trust.

What PostgreSQL cannot store (NUL, lone surrogates, infinities) and what overflows a stack is
refused here, once, for every body.
"""

import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

from starlette.datastructures import Headers

from fanfare.errors import FanfareError, FieldFault, InvalidInput

MAX_BODY_BYTES = 256 * 1024
# Segment rules need 11; nothing honest comes near. The JSON decoder itself gives up at 1,000.
MAX_DEPTH = 64

SMALLEST, LARGEST = -(2**63), 2**64 - 1
MAX_DIGITS = len(str(LARGEST))


class RequestTooLarge(FanfareError):
    """The body is over the limit of its route."""


class UnsupportedMediaType(FanfareError):
    """The body's Content-Type is not one that the route reads."""


class MalformedJson(Exception):
    """Not JSON that can be stored. The text says why and quotes nothing of it."""


async def read_body(chunks: AsyncIterator[bytes], limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises RequestTooLarge as soon as it is over `limit` bytes."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise RequestTooLarge(f"The body is larger than {limit:,} bytes.")
    return bytes(body)


def decode_body(body: bytes, headers: Headers) -> object:
    """The JSON in a request's body. Raises UnsupportedMediaType or InvalidInput."""
    if media_type(headers) not in {"application/json", "application/merge-patch+json"}:
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    try:
        return decode_json(body)
    except MalformedJson as error:
        message = f"The body is not JSON that can be taken: {error}."
        raise InvalidInput(message, [FieldFault("body", str(error))]) from error


def refuse_encoded(headers: Headers) -> None:
    """Raises UnsupportedMediaType for a body that is compressed, which no route reads."""
    encodings = ",".join(headers.getlist("content-encoding")).lower().split(",")
    if any(encoding.strip() not in {"", "identity"} for encoding in encodings):
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")


def media_type(headers: Headers) -> str:
    """The Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def decode_json(raw: bytes) -> object:
    """Decode UTF-8 JSON. Integers are exact, within 64 bits. Raises MalformedJson."""
    try:
        text = raw.decode("utf-8-sig")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise MalformedJson("it is not UTF-8") from error
    except RecursionError as error:
        raise MalformedJson("it is nested too deep") from error
    except ValueError as error:
        raise MalformedJson("it is malformed") from error
    if _needs_a_look(raw):
        _inspect(value)
    return value


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, nothing that UTF-8 cannot say."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not JSON")


def _exact(literal: str) -> int:
    # What is longer than 64 bits would come back from storage rounded, or not at all.
    if len(literal) > MAX_DIGITS or not SMALLEST <= (number := int(literal)) <= LARGEST:
        raise MalformedJson("an integer has more than 64 bits; send it as a text")
    return number


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise MalformedJson("a number is too large")
    return number


def _needs_a_look(raw: bytes) -> bool:
    # What cannot be stored comes by an escape, and depth by brackets; few bodies have either.
    return b"\\u" in raw or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH


def _inspect(root: object) -> None:
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        if not all(is_storable(value) for value in level if isinstance(value, str)):
            raise MalformedJson("a text holds a NUL or half of a surrogate pair")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise MalformedJson(f"it is nested deeper than {MAX_DEPTH} levels")


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_exact)
