"""Kinds of field that several bodies have, with their limits."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from fanfare.db.users import MAX_PROPERTIES_BYTES
from fanfare.models import ProviderName
from fanfare.schedule import known_timezones

MAX_PROPERTIES_DEPTH = 10
MAX_APNS_TOKEN = 200
# Longer than any that FCM gives out; a B-tree entry of PostgreSQL holds 2,704 bytes in all.
MAX_FCM_TOKEN = 2_048

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
# BCP 47: a language, then subtags; `de`, `pt-BR`, `zh-Hant-TW`, `en-US-u-ca-buddhist`.
_LOCALE = r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}$"
_DATED = re.compile("[0-9]{4}-")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_VISIBLE = re.compile(r"[!-~]+")
_APNS_DECORATION = str.maketrans("", "", " <>")


class Body(BaseModel):
    """A request's body, or a part of one. What it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


def _is_timezone(name: str) -> str:
    if name not in known_timezones():
        raise ValueError("not an IANA time zone that this system knows")
    return name


def _must_be_text(value: object) -> object:
    # pydantic reads numbers as seconds since 1970, in a text too; that would be a guess.
    if not isinstance(value, str) or _DATED.match(value) is None:
        raise ValueError("must be an RFC 3339 time such as 2026-03-01T09:00:00Z")
    return value


def _within_years(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must lie between the years 1970 and 9000")
    return moment.astimezone(UTC)


def _are_shallow(properties: Mapping[str, object]) -> Mapping[str, object]:
    level: list[object] = [properties]
    for _ in range(MAX_PROPERTIES_DEPTH):
        level = [child for value in level for child in _containers_in(value)]
        if not level:
            return properties
    raise ValueError(f"nested deeper than {MAX_PROPERTIES_DEPTH} levels")


def _are_small(properties: Mapping[str, object]) -> Mapping[str, object]:
    if len(json.dumps(properties, ensure_ascii=False).encode()) > MAX_PROPERTIES_BYTES:
        raise ValueError(f"larger than {MAX_PROPERTIES_BYTES:,} bytes as JSON")
    return properties


def _containers_in(value: object) -> list[object]:
    children = value.values() if isinstance(value, dict) else value
    assert isinstance(children, list) or not isinstance(children, str)
    return [child for child in children if isinstance(child, dict | list)]  # type: ignore[attr-defined]  # a dict or a list, by the line that found it


ExternalId = Annotated[str, Field(min_length=1, max_length=255, examples=["user-42"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Timezone = Annotated[
    str, AfterValidator(_is_timezone), Field(description="IANA name.", examples=["Europe/Berlin"])
]
Locale = Annotated[
    str, Field(pattern=_LOCALE, max_length=64, description="BCP 47.", examples=["pt-BR"])
]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_must_be_text),
    AfterValidator(_within_years),
    Field(description="RFC 3339 with an offset.", examples=["2026-03-01T09:00:00Z"]),
]
Properties = Annotated[
    dict[str, Any],  # Any: JSON
    AfterValidator(_are_shallow),
    AfterValidator(_are_small),
    Field(
        description="Merged at the top level with what is there; null removes. At most "
        f"{MAX_PROPERTIES_BYTES // 1024} KiB and {MAX_PROPERTIES_DEPTH} levels deep.",
        examples=[{"plan": "pro", "level": 7}],
    ),
]


def normal_token(provider: ProviderName, token: str) -> str | None:
    """The one spelling under which a token is stored, None for what is no token of the provider."""
    match provider:
        case ProviderName.APNS:
            spelling = token.translate(_APNS_DECORATION).lower()
            fits = len(spelling) <= MAX_APNS_TOKEN and _HEX.fullmatch(spelling)
        case ProviderName.FCM:
            spelling = token
            fits = len(spelling) <= MAX_FCM_TOKEN and _VISIBLE.fullmatch(spelling)
    return spelling if fits else None
