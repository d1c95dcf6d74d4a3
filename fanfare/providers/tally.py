"""Log lines for what may come a million times: few of them, each with its count."""

from collections import Counter

import structlog

# A provider that makes up a new word for every message costs no more memory than this.
MOST_KINDS = 100

_ANY = "any_other"
_TOLD = frozenset(10**power for power in range(12))

_log = structlog.get_logger(__name__)


class Tally:
    """Counts answers by status and reason, and tells of the 1st, 10th, 100th ... of each kind.

    So a storm of a million is seven lines. `close` tells what came since the last of them.
    """

    def __init__(self, event: str, **fields: str) -> None:
        """`event` is the lines' constant name; `fields` stand in each."""
        self._log = _log.bind(**fields)
        self._event = event
        self._counts: Counter[tuple[int, str]] = Counter()

    def note(self, status: int, reason: str) -> None:
        """Count one more. `reason` is a word, never what a provider made up at length."""
        kind = (status, reason)
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = (0, _ANY)
        self._counts[kind] += 1
        if self._counts[kind] in _TOLD:
            self._tell(kind)

    def close(self) -> None:
        """Tell the sums that were not told yet."""
        for kind, count in self._counts.items():
            if count not in _TOLD:
                self._tell(kind)
        self._counts.clear()

    def _tell(self, kind: tuple[int, str]) -> None:
        status, reason = kind
        count = self._counts[kind]
        self._log.warning(self._event, status=status, reason=reason, count=count)
