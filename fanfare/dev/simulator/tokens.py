"""What a device token asks for: the convention that needs no script.

The package's docstring has the table.
"""

from fanfare.dev.simulator.exchange import Endpoint, Refusal

MARKER_LENGTH = 4
SANDBOX_MARKER = "5a"

DEAD, MALFORMED, THROTTLED, UNAVAILABLE = "dead", "bad0", "429a", "503a"
PASSING_MARKERS = frozenset({THROTTLED, UNAVAILABLE})

REFUSALS: dict[tuple[Endpoint, str], Refusal] = {
    (Endpoint.APNS, DEAD): Refusal(410, "Unregistered"),
    (Endpoint.APNS, MALFORMED): Refusal(400, "BadDeviceToken"),
    (Endpoint.APNS, THROTTLED): Refusal(429, "TooManyRequests"),
    (Endpoint.APNS, UNAVAILABLE): Refusal(503, "ServiceUnavailable"),
    (Endpoint.FCM, DEAD): Refusal(404, "UNREGISTERED"),
    (Endpoint.FCM, MALFORMED): Refusal(400, "INVALID_ARGUMENT"),
    (Endpoint.FCM, THROTTLED): Refusal(429, "QUOTA_EXCEEDED", retry_after=2),
    (Endpoint.FCM, UNAVAILABLE): Refusal(503, "UNAVAILABLE", retry_after=2),
}
MARKERS = frozenset({DEAD, MALFORMED, THROTTLED, UNAVAILABLE})


class TokenConvention:
    """Remembers which passing troubles were already shown, by notification and token."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()

    def refusal(self, endpoint: Endpoint, token: str, collapse_id: str) -> Refusal | None:
        """What the token asks for, None to be accepted.

        A throttled or unavailable token is refused the first time that this notification comes
        to it, and accepted from then on.
        """
        marker = token[:MARKER_LENGTH]
        if marker not in MARKERS:
            return None
        if marker in PASSING_MARKERS and self._was_shown(collapse_id, token):
            return None
        return REFUSALS[endpoint, marker]

    def forget(self) -> None:
        """Start anew: each passing trouble will be shown once more."""
        self._shown.clear()

    def _was_shown(self, collapse_id: str, token: str) -> bool:
        if (collapse_id, token) in self._shown:
            return True
        self._shown.add((collapse_id, token))
        return False
