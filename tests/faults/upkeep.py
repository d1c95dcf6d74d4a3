"""What the upkeep had to do, by the workers' logs."""

from collections.abc import Iterator
from uuid import UUID

from fanfare.dev.stack import Stack


def has_taken_up(stack: Stack, campaign_id: UUID) -> bool:
    """Whether it found the campaign without a workflow, or one that was not told of a change."""
    return any("campaign_taken_up" in line and str(campaign_id) in line for line in _lines(stack))


def _lines(stack: Stack) -> Iterator[str]:
    for worker in stack.workers:
        yield from worker.log.read_text().splitlines()
