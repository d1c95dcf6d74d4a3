"""The segments that every project has from its beginning. Nobody changes or deletes them.

A change here is for new projects; projects that are there get it by a migration.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fanfare.segments.grammar import Group, Leaf, Rule
from fanfare.segments.operators import Operator


@dataclass(frozen=True, slots=True)
class SystemSegment:
    id: str
    name: str
    description: str
    rule: Rule


def _leaf(field: str, op: Operator, value: bool | str) -> Leaf:
    return Leaf(field=field, op=op, value=value)


SYSTEM_SEGMENTS: Sequence[SystemSegment] = (
    SystemSegment(
        "seg_all",
        "All users",
        "Every user of the project.",
        Group(operator="AND", conditions=()),
    ),
    SystemSegment(
        "seg_active_7d",
        "Active in 7 days",
        "Seen in the last 7 days.",
        _leaf("last_seen_at", Operator.WITHIN, "7d"),
    ),
    SystemSegment(
        "seg_active_30d",
        "Active in 30 days",
        "Seen in the last 30 days.",
        _leaf("last_seen_at", Operator.WITHIN, "30d"),
    ),
    SystemSegment(
        "seg_churning",
        "Churning",
        "Not seen in the last 14 days, or never.",
        _leaf("last_seen_at", Operator.NOT_WITHIN, "14d"),
    ),
    SystemSegment(
        "seg_premium",
        "Premium",
        "With an active entitlement.",
        _leaf("entitlements.is_active", Operator.EQ, True),
    ),
    SystemSegment(
        "seg_free",
        "Free",
        "Without an active entitlement.",
        _leaf("entitlements.is_active", Operator.NEQ, True),
    ),
    SystemSegment(
        "seg_new_users",
        "New users",
        "First seen in the last 7 days.",
        _leaf("first_seen_at", Operator.WITHIN, "7d"),
    ),
)
