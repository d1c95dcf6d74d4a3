"""An example and a sentence for each operator, for the HTTP description and docs/segments.md."""

from collections.abc import Mapping
from dataclasses import dataclass

from fanfare.segments.operators import Operator


@dataclass(frozen=True, slots=True)
class Example:
    """A leaf as it is sent, and whom it selects."""

    rules: Mapping[str, object]
    selects: str


def _leaf(field: str, op: Operator, *value: object) -> Mapping[str, object]:
    return {"field": field, "op": op.value} | ({"value": value[0]} if value else {})


OPERATOR_EXAMPLES: Mapping[Operator, Example] = {
    Operator.EQ: Example(
        _leaf("properties.plan", Operator.EQ, "pro"), "whose plan is the text `pro`"
    ),
    Operator.NEQ: Example(
        _leaf("entitlements.is_active", Operator.NEQ, True),
        "without an active entitlement, also who has none at all",
    ),
    Operator.GT: Example(
        _leaf("properties.level", Operator.GT, 10),
        "whose level is above 10, as a number or as text that is exactly a number",
    ),
    Operator.GTE: Example(
        _leaf("created_at", Operator.GTE, "2026-01-31T08:00:00Z"),
        "created at that instant or later",
    ),
    Operator.LT: Example(
        _leaf("entitlements.expiration_date", Operator.LT, "2026-12-31T23:59:59+01:00"),
        "with an entitlement that expires before that instant",
    ),
    Operator.LTE: Example(
        _leaf("properties.cart.total", Operator.LTE, 49.9), "whose cart's total is at most 49.9"
    ),
    Operator.CONTAINS: Example(
        _leaf("properties.tags", Operator.CONTAINS, "sports"),
        "whose tags, a list, have the member `sports`; or, as a text, the part `sports`",
    ),
    Operator.NOT_CONTAINS: Example(
        _leaf("email", Operator.NOT_CONTAINS, "@example.com"),
        "whose email has no such part, also who has no email",
    ),
    Operator.EXISTS: Example(_leaf("phone", Operator.EXISTS), "with a phone number"),
    Operator.NOT_EXISTS: Example(
        _leaf("device.platform", Operator.NOT_EXISTS), "without an active device"
    ),
    Operator.WITHIN: Example(
        _leaf("last_seen_at", Operator.WITHIN, "7d"), "seen in the last seven times 24 hours"
    ),
    Operator.NOT_WITHIN: Example(
        _leaf("properties.last_order_at", Operator.NOT_WITHIN, "4w"),
        "whose last order was not in the last four weeks, or never was",
    ),
    Operator.IN: Example(
        _leaf("timezone", Operator.IN, ["Europe/Berlin", "Europe/Vienna"]),
        "in one of these time zones",
    ),
    Operator.NOT_IN: Example(
        _leaf("device.app_version", Operator.NOT_IN, ["3.9.2", "4.0.0"]),
        "without an active device that runs one of these versions",
    ),
}
GROUP_EXAMPLE = Example(
    {
        "operator": "AND",
        "conditions": [
            _leaf("last_seen_at", Operator.NOT_WITHIN, "7d"),
            {
                "operator": "OR",
                "conditions": [
                    _leaf("properties.plan", Operator.EQ, "pro"),
                    {"operator": "NOT", "conditions": [_leaf("phone", Operator.NOT_EXISTS)]},
                ],
            },
        ],
    },
    "not seen for a week, and on the plan `pro` or with a phone number",
)
