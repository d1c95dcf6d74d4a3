"""Whatever an operation is asked, by whomever, it answers, and as its description says."""

from collections.abc import Mapping
from typing import Any

import pytest
from schemathesis import APIOperation, Case

from tests.hostility.conftest import Caller
from tests.hostility.described import LONG_DOOR, SHORT_DOOR, described

everything = described(SHORT_DOOR, is_systematic=True)
sample = described(SHORT_DOOR, is_systematic=False)
other_door = described(LONG_DOOR, is_systematic=False)

Operation = APIOperation[Any, Any, Any, Any]  # Any: of whichever kind
Headers = Mapping[Caller, Mapping[str, str]]


@everything.parametrize()
def test_operation_keeps_its_word(
    case: Case[Operation], hostile_url: str, headers_of: Headers
) -> None:
    headers = dict(headers_of[_owner_of(case)])

    case.call_and_validate(hostile_url, headers=headers)


@pytest.mark.parametrize("caller", ["phone", "operator", "nobody"])
@sample.parametrize()
def test_operation_keeps_its_word_to_others(
    case: Case[Operation], hostile_url: str, headers_of: Headers, caller: Caller
) -> None:
    headers = dict(headers_of[caller])

    case.call_and_validate(hostile_url, headers=headers)


@other_door.parametrize()
def test_operation_keeps_its_word_at_the_other_door(
    case: Case[Operation], hostile_url: str, headers_of: Headers
) -> None:
    headers = dict(headers_of["admin"])

    case.call_and_validate(hostile_url, headers=headers)


def _owner_of(case: Case[Operation]) -> Caller:
    return "operator" if case.path.startswith("/admin/projects") else "admin"
