"""A fixed population that holds everything that has gone wrong in somebody's user properties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

Row: TypeAlias = Mapping[str, object]

PROJECT = UUID(int=1)
OTHER_PROJECT = UUID(int=2)


@dataclass(frozen=True)
class User:
    """`properties` is JSON text, so that it may hold numbers that Python would not write."""

    number: int
    columns: Row = field(default_factory=dict)
    properties: str = "{}"
    entitlements: Sequence[Row] = ()
    devices: Sequence[Row] = ()

    @property
    def id(self) -> UUID:
        return UUID(int=1000 + self.number)


class Population:
    """Users that are in the database, and their ids."""

    def __init__(self, users: Sequence[User]) -> None:
        self.users = users
        self.ids = frozenset(user.id for user in users)

    def __repr__(self) -> str:
        return f"Population of {len(self.users)}"  # in full it would drown a failing example


# What stands at properties.p, one user each.
PROPERTY_VALUES: Sequence[str] = (
    "null",
    '"pro"',
    '"PRO"',
    '"pro "',
    '"a pro plan"',
    '"100%"',
    '"a_b"',
    '"a\\\\b"',
    '"Zo\\u00eb \\ud83c\\udf89"',
    '""',
    '" 5"',
    '"5"',
    '"5.0"',
    '"5e0"',
    '"+5"',
    '"05"',
    '"5."',
    '".5"',
    '"5\\n"',
    '"\\u0665"',
    '"NaN"',
    '"Infinity"',
    '"1e999999"',
    '"-0"',
    '"1e400"',
    '"0x10"',
    '"1_000"',
    f'"{"9" * 200_000}"',
    f'"{"9" * 40}"',
    f'"{"9" * 41}"',
    "5",
    "5.0",
    "0.1",
    "0",
    "-7",
    "1e1000",
    "1e-1000",
    "9007199254740993",
    "12345678901234567890123456789",
    "true",
    "false",
    '"true"',
    "[]",
    '["pro"]',
    '["pro", 5, null, ["a"]]',
    '[["pro"]]',
    '[5, "5"]',
    "[true]",
    '{"q": "pro"}',
    '{"q": 5, "pro": 1}',
    '{"q": null}',
    '{"q": {"r": "2026-01-31T08:00:00Z"}}',
    '[{"q": "pro"}]',
    "{}",
    '"2026-01-31T08:00:00Z"',
    '"2026-01-31t08:00:00z"',
    '"2026-01-31 09:00:00+01:00"',
    '"2026-01-31T08:00:00.1234567Z"',
    '"2026-01-31T08:00:00.123456789Z"',
    f'"2026-01-31T08:00:00.1{"9" * 200}Z"',
    '"2026-01-31T08:00:00.Z"',
    '"2026-01-31T08:00:00"',
    '["2026-01-31T08:00:00Z"]',
    '"2026-01-31"',
    '"2026-02-29T08:00:00Z"',
    '"2024-02-29T08:00:00Z"',
    '"2100-02-29T08:00:00Z"',
    '"2000-02-29T08:00:00Z"',
    '"0000-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+14:59"',
    '"9999-12-31T23:59:59.999999-14:59"',
    '"9999-12-31T23:59:59.9999999Z"',
    '"2026-13-45T00:00:00Z"',
    '"2026-04-31T00:00:00Z"',
    '"2026-01-31T24:00:00Z"',
    '"2026-01-31T23:59:60Z"',
    '"2026-01-31T08:00:00+15:00"',
    '"2026-01-31T08:00:00+23:59"',
    '"2026-01-31T08:00:00Z\\n"',
    '"now"',
    '"infinity"',
    '"tomorrow"',
)


def population(now: datetime) -> Population:
    """About a hundred users; what is relative to `now` keeps a minute's distance from it."""
    builders = [
        *_users_by_property(),
        *_users_by_recency(now),
        *_users_by_column(now),
        *_users_by_entitlement(now),
        *_users_by_device(now),
    ]
    return Population(
        [
            User(number, user.columns, user.properties, user.entitlements, user.devices)
            for number, user in enumerate(builders)
        ]
    )


def _users_by_property() -> Sequence[User]:
    return [User(0, properties=f'{{"p": {value}}}') for value in PROPERTY_VALUES]


def _users_by_recency(now: datetime) -> Sequence[User]:
    ages = (
        timedelta(minutes=-5),
        timedelta(minutes=5),
        timedelta(hours=23),
        timedelta(days=6, hours=23),
        timedelta(days=7, minutes=5),
        timedelta(days=30, hours=12),
        timedelta(days=4000),
    )
    return [
        User(
            0,
            columns={"last_seen_at": now - age, "first_seen_at": now - age},
            properties=f'{{"p": "{(now - age).isoformat()}"}}',
        )
        for age in ages
    ]


def _users_by_column(now: datetime) -> Sequence[User]:
    instant = datetime.fromisoformat("2026-01-31T08:00:00+00:00")
    return [
        User(0, columns={"email": "pro", "locale": "de-DE", "timezone": "Europe/Berlin"}),
        User(0, columns={"email": "a pro plan", "phone": "+49 100%", "display_name": "Zoë 🎉"}),
        User(0, columns={"email": "", "external_id": "a_b", "created_at": instant}),
        User(0, columns={"created_at": instant + timedelta(microseconds=1), "updated_at": now}),
        User(0, properties='{"p": "pro", "q": 5, "proto": {"p": "pro"}}'),
    ]


def _users_by_entitlement(now: datetime) -> Sequence[User]:
    active: Row = {"is_active": True, "product_id": "pro", "entitlement_id": "pro"}
    lapsed: Row = {"is_active": False, "product_id": "a pro plan", "store": "app_store"}
    bare: Row = {"entitlement_id": "5"}
    dated: Row = {
        "purchase_date": datetime.fromisoformat("2026-01-31T08:00:00+00:00"),
        "expiration_date": now - timedelta(days=3),
        "period_type": "pro",
    }
    elsewhere: Row = {**active, "project_id": OTHER_PROJECT}
    return [
        User(0, entitlements=rows)
        for rows in (
            [active],
            [lapsed],
            [bare],
            [dated],
            [active, lapsed],
            [lapsed, lapsed, dated],
            [elsewhere],
            [elsewhere, lapsed],
        )
    ]


def _users_by_device(now: datetime) -> Sequence[User]:
    ios: Row = {"platform": "ios", "provider": "apns", "app_version": "5.0"}
    android: Row = {"platform": "android", "provider": "fcm", "last_seen_at": now}
    stale: Row = {**ios, "last_seen_at": now - timedelta(days=20)}
    inactive: Row = {**ios, "app_version": "pro", "is_active": False}
    elsewhere: Row = {**ios, "project_id": OTHER_PROJECT}
    return [
        User(0, devices=rows)
        for rows in (
            [ios],
            [android],
            [stale],
            [inactive],
            [ios, android],
            [inactive, android],
            [elsewhere],
            [stale, stale, inactive],
        )
    ]
