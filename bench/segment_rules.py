"""The rules that the segments' benchmark asks for, by the share of users that each selects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

Rules = Mapping[str, object]

SELECTIVE_MS = 300
BROAD_MS = 1_500


def _leaf(field: str, op: str, *value: object) -> Rules:
    return {"field": field, "op": op} | ({"value": value[0]} if value else {})


def _and(*conditions: Rules) -> Rules:
    return {"operator": "AND", "conditions": list(conditions)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A rule to preview. `limit_ms` is what its preview may take; None is only to know."""

    name: str
    rules: Rules
    limit_ms: int | None


def selective(now: datetime) -> Sequence[Asked]:
    """Rules that select few, over a population that was made at `now`."""
    soon = (now + timedelta(days=5)).isoformat()
    return (
        Asked("1 %: property eq text", _leaf("properties.cohort", "eq", "cohort-7"), SELECTIVE_MS),
        Asked(
            "2 %: property in two texts",
            _leaf("properties.cohort", "in", ["cohort-7", "cohort-8"]),
            SELECTIVE_MS,
        ),
        Asked("1 %: last seen within", _leaf("last_seen_at", "within", "15h"), SELECTIVE_MS),
        Asked("1 %: first seen within", _leaf("first_seen_at", "within", "7d"), SELECTIVE_MS),
        Asked("1 %: device's version", _leaf("device.app_version", "eq", "4.7.0"), SELECTIVE_MS),
        Asked(
            "0.3 %: entitlement expires",
            _leaf("entitlements.expiration_date", "lt", soon),
            SELECTIVE_MS,
        ),
        Asked("1 %: property eq number", _leaf("properties.level", "eq", 7), SELECTIVE_MS),
        Asked("1 %: property gt number", _leaf("properties.level", "gt", 98), SELECTIVE_MS),
        Asked(
            "0.3 %: property and device",
            _and(
                _leaf("properties.cohort", "eq", "cohort-7"),
                _leaf("device.platform", "eq", "ios"),
                _leaf("last_seen_at", "not_within", "7d"),
            ),
            SELECTIVE_MS,
        ),
    )


def broad(now: datetime) -> Sequence[Asked]:
    """Rules that select many."""
    return (
        Asked(
            "50 %: property in two texts", _leaf("properties.plan", "in", ["pro", "team"]), BROAD_MS
        ),
        Asked("50 %: property gte number", _leaf("properties.level", "gte", 50), BROAD_MS),
        Asked("75 %: property neq text", _leaf("properties.plan", "neq", "pro"), BROAD_MS),
        Asked("50 %: device's platform", _leaf("device.platform", "eq", "ios"), BROAD_MS),
        Asked("80 %: not seen within", _leaf("last_seen_at", "not_within", "14d"), BROAD_MS),
        Asked(
            "85 %: no active entitlement", _leaf("entitlements.is_active", "neq", True), BROAD_MS
        ),
        Asked("100 %: everyone", _and(), BROAD_MS),
        Asked(
            "50 %: property is a later time",
            _leaf("properties.trial_ends_at", "gt", now.isoformat()),
            BROAD_MS,
        ),
        Asked(
            "50 %: property gte number, as text",
            _leaf("properties.balance", "gte", 50_000),
            BROAD_MS,
        ),
        Asked(
            "11 %: inactive, on a plan, with a phone",
            _and(
                _leaf("last_seen_at", "not_within", "7d"),
                _leaf("properties.plan", "eq", "pro"),
                _leaf("device.platform", "eq", "ios"),
            ),
            BROAD_MS,
        ),
    )


def own_segments(now: datetime) -> Mapping[str, Rules]:
    """Thirteen, so that with the system segments a project has twenty."""
    asked = [*selective(now)[:8], *broad(now)[:5]]
    return {f"seg_bench_{number:02}": each.rules for number, each in enumerate(asked)}
