"""APNs' provider token: an ES256 JWT of the team's key, at most an hour old.

https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

from collections.abc import Callable

import jwt
from jwt.types import Options

from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.keys import public_key_of

LIFETIME_S = 3600
# What two clocks may differ by before a token from the future is refused.
LEEWAY_S = 300
TOKENS_KEPT = 64
UNCHECKED_CLAIMS: Options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}


class ProviderTokenFault(Exception):
    """A provider token that APNs would refuse, in Apple's words."""


class ProviderTokens:
    """Checks provider tokens; each signature once, its age every time."""

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._team_id = account.team_id
        self._key_id = account.key_id
        self._public_key = public_key_of(account.key_p8.encode())
        self._clock = clock
        self._issued_at: dict[bytes, float] = {}

    def good_until(self, authorization: bytes | None) -> float:
        """When the token of an `authorization` header expires. Raises ProviderTokenFault."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise ProviderTokenFault("MissingProviderToken")
        issued_at = self._issued_at.get(authorization)
        if issued_at is None:
            issued_at = self._verify(authorization[7:].decode("ascii", "replace"))
            if issued_at is None:
                raise ProviderTokenFault("InvalidProviderToken")
            self._remember(authorization, issued_at)
        if self._clock() > issued_at + LIFETIME_S:
            raise ProviderTokenFault("ExpiredProviderToken")
        return issued_at + LIFETIME_S

    def _verify(self, token: str) -> float | None:
        """When the token was issued, None where it is not one of ours."""
        try:
            verified = jwt.decode_complete(
                token, self._public_key, algorithms=["ES256"], options=UNCHECKED_CLAIMS
            )
        except jwt.InvalidTokenError:
            return None
        claims = verified["payload"]
        issued_at = claims.get("iat")
        is_ours = (
            verified["header"].get("kid") == self._key_id and claims.get("iss") == self._team_id
        )
        if not is_ours or not isinstance(issued_at, int | float):
            return None
        return issued_at if issued_at <= self._clock() + LEEWAY_S else None

    def _remember(self, authorization: bytes, issued_at: float) -> None:
        if len(self._issued_at) >= TOKENS_KEPT:
            self._issued_at.clear()
        self._issued_at[authorization] = issued_at
