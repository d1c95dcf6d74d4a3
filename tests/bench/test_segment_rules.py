"""The segments' benchmark asks what it says that it asks."""

from datetime import UTC, datetime

from bench.segment_rules import broad, own_segments, selective
from fanfare.segments.grammar import parse_rules
from fanfare.segments.system import SYSTEM_SEGMENTS

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def test_every_rule_is_one() -> None:
    asked = [*selective(NOW), *broad(NOW)]

    assert len([parse_rules(each.rules) for each in asked]) == len(asked)
    assert len({each.name for each in asked}) == len(asked)


def test_a_project_of_the_benchmark_has_twenty_segments() -> None:
    assert len(own_segments(NOW)) + len(SYSTEM_SEGMENTS) == 20
