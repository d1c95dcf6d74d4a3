"""People to send to: the same ones for the same numbers, generated one by one.

The tokens begin as the simulator's convention asks, so that it is known beforehand what becomes
of each. The order of a seed is fixed; only the dates move, with the `now` that it is given.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import orjson

from fanfare.dev.simulator.tokens import DEAD, MARKERS, SANDBOX_MARKER, THROTTLED
from fanfare.models import Platform, ProviderName

INACTIVE_AFTER = timedelta(days=7)

# One in so many.
DEAD_ONE_IN = 50
THROTTLED_ONE_IN = 100
WITHOUT_DEVICE_ONE_IN = 12
NEVER_SEEN_ONE_IN = 100

APNS_SHARE = 0.55
INACTIVE_SHARE = 0.38
PREMIUM_SHARE = 0.2

# Zones on both hemispheres, with and without daylight saving, off the hour and across the date
# line; each with a locale and a rough share of the people.
HOMES: Sequence[tuple[str, str, int]] = (
    ("America/New_York", "en-US", 18),
    ("America/Los_Angeles", "en-US", 12),
    ("America/Sao_Paulo", "pt-BR", 9),
    ("America/Mexico_City", "es-MX", 6),
    ("Europe/London", "en-GB", 10),
    ("Europe/Berlin", "de-DE", 10),
    ("Europe/Paris", "fr-FR", 8),
    ("Africa/Lagos", "en-NG", 4),
    ("Asia/Kolkata", "hi-IN", 9),
    ("Asia/Kathmandu", "ne-NP", 1),
    ("Asia/Tokyo", "ja-JP", 7),
    ("Australia/Sydney", "en-AU", 4),
    ("Pacific/Apia", "sm-WS", 1),
    ("Pacific/Kiritimati", "en-KI", 1),
)
MODELS: Mapping[ProviderName, Sequence[str]] = {
    ProviderName.APNS: ("iPhone15,2", "iPhone16,1", "iPhone17,1", "iPad14,3"),
    ProviderName.FCM: ("Pixel 9", "SM-S931B", "Xiaomi 15", "moto g85"),
}
PLATFORMS = {ProviderName.APNS: Platform.IOS, ProviderName.FCM: Platform.ANDROID}
APP_VERSIONS = ("3.9.2", "4.0.0", "4.1.3", "4.2.0")
FCM_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
SPORTS = ("running", "cycling", "yoga", "swimming", "climbing")


class Fate(Enum):
    """What the simulator makes of a token."""

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class SeedToken:
    """A device, and what is to become of a message to it."""

    provider: ProviderName
    token: str
    fate: Fate
    device_model: str
    app_version: str

    def fields(self) -> Mapping[str, str]:
        """As a line of the import names it."""
        return {
            "token": self.token,
            "platform": PLATFORMS[self.provider],
            "provider": self.provider,
            "device_model": self.device_model,
            "app_version": self.app_version,
        }


@dataclass(frozen=True, slots=True)
class SeedUser:
    """A user. `last_seen_at` is None for one that was never seen."""

    external_id: str
    timezone: str
    locale: str
    properties: Mapping[str, Any]  # Any: JSON
    is_premium: bool
    last_seen_at: datetime | None
    tokens: Sequence[SeedToken]

    def line(self) -> bytes:
        """A line of NDJSON for the import."""
        line: dict[str, object] = {
            "external_id": self.external_id,
            "email": f"{self.external_id}@example.com",
            "timezone": self.timezone,
            "locale": self.locale,
            "properties": self.properties,
            "entitlements": [PREMIUM] if self.is_premium else [],
            "push_tokens": [token.fields() for token in self.tokens],
        }
        if self.last_seen_at is not None:
            line["last_seen_at"] = self.last_seen_at
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def is_inactive(self, now: datetime) -> bool:
        """Whether the segment of those not seen for a week holds this user.

        `not_within` is the complement of `within`, so who was never seen is inactive too.
        """
        return self.last_seen_at is None or self.last_seen_at < now - INACTIVE_AFTER


PREMIUM = {"entitlement_id": "premium", "product_id": "premium_yearly", "is_active": True}


@dataclass(frozen=True, slots=True)
class Seed:
    """So many users with so many tokens in all, as seen from `now`."""

    users: int
    tokens: int
    now: datetime
    number: int = 7

    def people(self) -> Iterator[SeedUser]:
        """Everyone, in order; the memory of one token's worth of bookkeeping each."""
        chance = random.Random(self.number)  # noqa: S311 - a seed is meant to repeat itself
        tokens = _Tokens(chance, self.tokens)
        for number, devices in enumerate(_devices_of_each(self, chance), start=1):
            timezone, locale = chance.choices(_PLACES, _WEIGHTS)[0]
            yield SeedUser(
                external_id=f"user-{number:06}",
                timezone=timezone,
                locale=locale,
                properties=_properties(chance),
                is_premium=chance.random() < PREMIUM_SHARE,
                last_seen_at=_last_seen(chance, self.now),
                tokens=[tokens.next() for _ in range(devices)],
            )


_PLACES = [(timezone, locale) for timezone, locale, _ in HOMES]
_WEIGHTS = [share for _, _, share in HOMES]


@dataclass(slots=True)
class _Tokens:
    """A stock of tokens: exact shares of the dead and the throttled, the rest by chance."""

    chance: random.Random
    count: int
    fates: list[Fate] = field(init=False)

    def __post_init__(self) -> None:
        dead, throttled = self.count // DEAD_ONE_IN, self.count // THROTTLED_ONE_IN
        accepted = self.count - dead - throttled
        counts = {Fate.DEAD: dead, Fate.THROTTLED: throttled, Fate.ACCEPTED: accepted}
        self.fates = [fate for fate, count in counts.items() for _ in range(count)]
        self.chance.shuffle(self.fates)

    def next(self) -> SeedToken:
        fate = self.fates.pop()
        provider = self._provider(fate)
        return SeedToken(
            provider=provider,
            token=self._text(provider, fate),
            fate=fate,
            device_model=self.chance.choice(MODELS[provider]),
            app_version=self.chance.choice(APP_VERSIONS),
        )

    def _provider(self, fate: Fate) -> ProviderName:
        # Only FCM is throttled: Apple asks for a minute's silence, too long for a demonstration.
        is_apple = fate is not Fate.THROTTLED and self.chance.random() < APNS_SHARE
        return ProviderName.APNS if is_apple else ProviderName.FCM

    def _text(self, provider: ProviderName, fate: Fate) -> str:
        match fate:
            case Fate.DEAD:
                marker = DEAD
            case Fate.THROTTLED:
                marker = THROTTLED
            case Fate.ACCEPTED:
                marker = self._innocent_marker()
        if provider is ProviderName.APNS:
            return marker + self.chance.randbytes(30).hex()
        return marker + "".join(self.chance.choices(FCM_LETTERS, k=138))

    def _innocent_marker(self) -> str:
        while True:
            marker = self.chance.randbytes(2).hex()
            if marker not in MARKERS and not marker.startswith(SANDBOX_MARKER):
                return marker


def _devices_of_each(seed: Seed, chance: random.Random) -> Sequence[int]:
    without = seed.users // WITHOUT_DEVICE_ONE_IN
    each, more = divmod(seed.tokens, seed.users - without)
    counts = [0] * without + [each + 1] * more + [each] * (seed.users - without - more)
    chance.shuffle(counts)
    return counts


def _properties(chance: random.Random) -> Mapping[str, Any]:
    return {
        "favourite": chance.choice(SPORTS),
        "level": chance.randint(1, 60),
        "streak_days": chance.randint(0, 400),
        "onboarded": chance.random() < 0.9,
    }


def _last_seen(chance: random.Random, now: datetime) -> datetime | None:
    # Nobody near the seventh day, so that no clock decides who is in the segment.
    if chance.randrange(NEVER_SEEN_ONE_IN) == 0:
        return None
    is_inactive = chance.random() < INACTIVE_SHARE
    days = chance.uniform(7.5, 60) if is_inactive else chance.uniform(0, 6.5)
    return now - timedelta(days=days)
