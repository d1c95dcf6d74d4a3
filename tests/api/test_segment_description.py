"""The grammar as it is described: by OpenAPI and by docs/segments.md, an example per operator."""

import json
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from fanfare.segments.examples import GROUP_EXAMPLE, OPERATOR_EXAMPLES
from fanfare.segments.fields import COLUMN_FIELDS
from fanfare.segments.grammar import parse_rules
from fanfare.segments.operators import Operator
from fanfare.segments.system import SYSTEM_SEGMENTS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "segments.md").read_text()
EXAMPLES = [*OPERATOR_EXAMPLES.items(), (None, GROUP_EXAMPLE)]


async def _description(client: AsyncClient, path: str) -> Any:  # Any: JSON
    document = (await client.get("/openapi.json")).json()
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def test_every_operator_has_an_example_of_its_own() -> None:
    assert OPERATOR_EXAMPLES.keys() == set(Operator)
    assert [each.rules["op"] for each in OPERATOR_EXAMPLES.values()] == list(OPERATOR_EXAMPLES)


@pytest.mark.parametrize(("_", "example"), EXAMPLES)
def test_every_example_is_a_rule(_: object, example: Any) -> None:
    parsed = parse_rules(example.rules)

    assert parsed.model_dump(mode="json", exclude_none=True) == example.rules


@pytest.mark.parametrize("path", ["/admin/segments", "/admin/segments/preview"])
async def test_the_api_describes_every_operator(client: AsyncClient, path: str) -> None:
    described = await _description(client, path)

    shown = [each["value"]["rules"] for each in described["examples"].values()]
    assert shown == [example.rules for _, example in EXAMPLES]


async def test_the_api_describes_what_a_leaf_may_hold(client: AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]

    group, leaf = schemas["PreviewBody"]["properties"]["rules"]["anyOf"]
    assert leaf["properties"]["op"]["enum"] == [op.value for op in Operator]
    assert group["properties"]["operator"]["enum"] == ["AND", "OR", "NOT"]
    assert [name for name in COLUMN_FIELDS if name not in str(leaf)] == []


@pytest.mark.parametrize(("op", "example"), OPERATOR_EXAMPLES.items())
def test_the_document_shows_every_operator(op: Operator, example: Any) -> None:
    line = f"| `{op}` | `{json.dumps(example.rules)}` | {example.selects} |"

    assert line in DOCUMENT.splitlines()


def test_the_document_names_every_column_and_every_system_segment() -> None:
    columns = [name.rpartition(".")[2] for name in COLUMN_FIELDS]

    assert [name for name in columns if f"{name}`" not in DOCUMENT] == []
    assert [each.id for each in SYSTEM_SEGMENTS if f"`{each.id}`" not in DOCUMENT] == []
