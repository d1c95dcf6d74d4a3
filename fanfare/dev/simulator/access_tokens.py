"""OAuth access tokens that need no memory: a restart of the simulator forgets none of them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

LIFETIME_S = 3599
PREFIX = "ya29."
EXPIRY_BYTES, NONCE_BYTES = 8, 8
SIGNED_BYTES = EXPIRY_BYTES + NONCE_BYTES
TOKENS_KEPT = 64


class AccessTokens:
    """Issues and checks access tokens; each signature is checked once."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock
        self._expires_at: dict[bytes, int] = {}

    def issue(self) -> str:
        """A new token, good for `LIFETIME_S` seconds."""
        expiry = int(self._clock()) + LIFETIME_S
        signed = expiry.to_bytes(EXPIRY_BYTES) + secrets.token_bytes(NONCE_BYTES)
        return PREFIX + base64.urlsafe_b64encode(signed + self._signature(signed)).decode()

    def good_until(self, authorization: bytes) -> float:
        """When the token of an `authorization` header expires: long ago, where it is not ours."""
        expires_at = self._expires_at.get(authorization)
        if expires_at is None:
            expires_at = self._read(authorization)
            if len(self._expires_at) >= TOKENS_KEPT:
                self._expires_at.clear()
            self._expires_at[authorization] = expires_at
        return expires_at

    def _read(self, authorization: bytes) -> int:
        """When the token expires: long ago, where it is not ours."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token.startswith(PREFIX.encode()):
            return 0
        try:
            raw = base64.urlsafe_b64decode(token[len(PREFIX) :])
        except ValueError:
            return 0
        signed, signature = raw[:SIGNED_BYTES], raw[SIGNED_BYTES:]
        if not hmac.compare_digest(signature, self._signature(signed)):
            return 0
        return int.from_bytes(signed[:EXPIRY_BYTES])

    def _signature(self, signed: bytes) -> bytes:
        return hmac.digest(self._secret, signed, hashlib.sha256)
