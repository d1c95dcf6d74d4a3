"""Rules as a body holds them, and what the HTTP description says of them.

The grammar checks them, not pydantic: its faults have a JSON pointer and a suggestion.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi.openapi.models import Example as OpenApiExample
from pydantic import Field

from api.routing import GuardedRoute
from fanfare.segments.examples import GROUP_EXAMPLE, OPERATOR_EXAMPLES, Example
from fanfare.segments.fields import COLUMN_FIELDS
from fanfare.segments.grammar import MAX_DEPTH, MAX_LEAVES
from fanfare.segments.operators import Operator

_DESCRIPTION: Final = f"""
A group `{{"operator": "AND" | "OR" | "NOT", "conditions": [...]}}` or a leaf
`{{"field", "op", "value"}}`. Groups nest {MAX_DEPTH} deep and hold {MAX_LEAVES} leaves at most;
`AND` of nothing is everyone, `OR` of nothing nobody, and `NOT` takes one condition.

`entitlements.<column>` and `device.<column>` mean that some row of the user's satisfies the leaf.
Every negative operator is the exact complement of its positive, so who lacks the field satisfies
the negative one.

A fault is 400 INVALID_SEGMENT_RULES or SEGMENT_RULES_TOO_DEEP with `details.path`, a JSON pointer
into the rules, and `details.suggestion` where a word is nearly right.
"""


class RulesRoute(GuardedRoute):
    """A guarded route whose body holds rules: a list of a thousand values is large."""

    max_body_bytes = 2 * 1024 * 1024


class PreviewRoute(RulesRoute):
    """Starts nothing and takes no Idempotency-Key, so that no answer with people in it is kept."""

    runs_once = False


def openapi_examples(around: Mapping[str, object]) -> dict[str, OpenApiExample]:
    """A body for each operator and one with groups: `around` and the rules."""
    examples: dict[str, Example] = {op.value: each for op, each in OPERATOR_EXAMPLES.items()}
    examples["AND, OR, NOT"] = GROUP_EXAMPLE
    return {
        name: OpenApiExample(
            summary=f"{name}: {example.selects}", value={**around, "rules": example.rules}
        )
        for name, example in examples.items()
    }


def _leaf_schema() -> dict[str, object]:
    names = ", ".join(f"`{name}`" for name in COLUMN_FIELDS)
    field = f"{names}, or `properties.` and names joined by dots."
    operators = "\n".join(_line(op, example) for op, example in OPERATOR_EXAMPLES.items())
    value = "Text, number or boolean; a list for `in`, `not_in`; none for `exists`, `not_exists`."
    properties = {
        "field": {"type": "string", "description": field},
        "op": {"enum": [op.value for op in Operator], "description": operators},
        "value": {"description": value},
    }
    return _object_schema("Leaf", properties, required=["field", "op"])


def _group_schema() -> dict[str, object]:
    properties = {
        "operator": {"enum": ["AND", "OR", "NOT"]},
        "conditions": {"type": "array", "items": {"type": "object", "title": "Group or Leaf"}},
    }
    return _object_schema("Group", properties, required=["operator", "conditions"])


def _object_schema(
    title: str, properties: Mapping[str, object], *, required: list[str]
) -> dict[str, object]:
    return {
        "type": "object",
        "title": title,
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


def _line(op: Operator, example: Example) -> str:
    value = example.rules.get("value", "")
    return f"* `{op}`, as in `{example.rules['field']} {op} {value}`: {example.selects}"


Rules = Annotated[
    dict[str, Any],  # Any: JSON, which the grammar checks
    Field(description=_DESCRIPTION, json_schema_extra={"anyOf": [_group_schema(), _leaf_schema()]}),
]
