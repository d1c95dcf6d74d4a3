"""The description of the API as hostile callers read it."""

import copy
import os
from typing import Any, Final
from uuid import UUID

import schemathesis
from schemathesis import SerializationContext
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.api.test_openapi import DESCRIBED

PROJECT_ID: Final = UUID("01900000-0000-7000-8000-00000000f00d")
SHORT_DOOR: Final = ("/admin", "/healthz", "/readyz")
LONG_DOOR: Final = ("/v1",)

# How many random requests an operation gets beside those that its description calls for, and how
# many scenes are played.
EXAMPLES: Final = int(os.environ.get("FANFARE_HOSTILE_EXAMPLES", "3"))

_OFF: Final = {"enabled": False}
_GENERATION: Final = {"max-examples": EXAMPLES, "deterministic": True, "database": "none"}
_OPERATIONS: Final = [
    # `GET /admin/push/preview` asks for a campaign that is called preview, and finds none.
    {
        "include-path-regex": "/(test|preview|apns|fcm|{provider})$",
        "checks": {"unsupported_method": _OFF, "allow_header_conformance": _OFF},
    },
    # Whatever its lines are, the answer says so line by line.
    {"include-path-regex": "/import$", "checks": {"negative_data_rejection": _OFF}},
]


@schemathesis.serializer("application/x-ndjson", "text/csv")
def _as_it_is(_context: SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def described(door: tuple[str, ...], *, is_systematic: bool) -> OpenApiSchema:
    """The operations of a door, with the project of these tests in their paths.

    `is_systematic`: each value at its limits and just beyond, each field missing, of another type
    or null, each method that is not there; and that all this is refused. The same at every run.

    `default` is left out of the answers: what an operation answers must be among what it says.
    """
    schema: dict[str, Any] = copy.deepcopy(dict(DESCRIBED))  # Any: JSON
    schema["paths"] = {
        path.replace("{project_id}", str(PROJECT_ID)): {
            method: _strict(operation) for method, operation in methods.items()
        }
        for path, methods in schema["paths"].items()
        if path.startswith(door)
    }
    return schemathesis.openapi.from_dict(schema, config=_config(is_systematic=is_systematic))


def _config(*, is_systematic: bool) -> schemathesis.Config:
    systematic = {"enabled": is_systematic}
    return schemathesis.Config.from_dict(
        {
            "generation": _GENERATION,
            "operations": _OPERATIONS,
            "phases": {"coverage": systematic},
            "checks": {
                # A schema says what is well formed, and leaves to words what must be so beside: a
                # time to come, a cursor of this list, a token of that provider.
                "positive_data_acceptance": _OFF,
                "negative_data_rejection": systematic,
            },
        }
    )


def _strict(operation: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    operation["responses"].pop("default", None)
    parameters = operation.get("parameters", [])
    operation["parameters"] = [each for each in parameters if each["name"] != "project_id"]
    return operation
