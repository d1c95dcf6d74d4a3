"""Operations one after the other, each with what the ones before it made."""

from collections.abc import Mapping
from typing import Final

import hypothesis

from tests.hostility.conftest import Caller
from tests.hostility.described import EXAMPLES, SHORT_DOOR, described

SCENES: Final = 5 * EXAMPLES
STEPS: Final = 8


def test_operations_keep_their_word_in_any_order(
    hostile_url: str, headers_of: Mapping[Caller, Mapping[str, str]]
) -> None:
    schema = described(SHORT_DOOR, is_systematic=False)
    schema.config.update(base_url=hostile_url, headers=dict(headers_of["admin"]))
    # Every call of a scene has the key, whatever else was drawn for it; single calls try without.
    schema.config.checks.ignored_auth.enabled = False
    played = hypothesis.settings(
        max_examples=SCENES,
        stateful_step_count=STEPS,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    schema.as_state_machine().run(settings=played)
