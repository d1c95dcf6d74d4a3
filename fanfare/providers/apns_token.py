"""APNs' provider token: one for each team and key, the same in every process at any moment."""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

# Apple: not changed more than once in 20 minutes, refused after 60
# (establishing-a-token-based-connection-to-apns).
_PERIOD = 30 * 60
_YOUNGEST = 20 * 60
_OLDEST = 50 * 60
_EARLY_PERIOD = 10 * 60
_COORDINATE_BYTES = 32


class ApnsTokenSource:
    """Signs and keeps the `authorization` of one team's key.

    `iat` lies on a half hour and 20 to 50 minutes back, and the signature is deterministic (RFC
    6979): at any moment all processes, whenever they were started, hold the very same token. Apple
    answers several tokens of one team with 429 TooManyProviderTokenUpdates
    (developer.apple.com/forums/thread/770438).
    """

    def __init__(
        self,
        team_id: str,
        key_id: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._team_id = team_id
        self._key_id = key_id
        self._key = key
        self._clock = clock
        self._issued_at = 0
        self._authorization = b""

    def authorization(self) -> bytes:
        """Return the header's value, signed anew where the last is 50 minutes old."""
        now = self._clock()
        if not 0 <= now - self._issued_at < _OLDEST:
            self._sign(int((now - _YOUNGEST) // _PERIOD * _PERIOD))
        return self._authorization

    def note_expired(self) -> bool:
        """Sign anew, as of the last ten minutes, because Apple calls the token expired.

        Only where the present one says that it is 20 minutes old, as every regular one does:
        sooner than that Apple takes no other. Then the clock is wrong, and ten minutes are what
        processes with that clock agree on. Returns whether there is a new one.
        """
        now = self._clock()
        if now - self._issued_at < _YOUNGEST:
            return False
        self._sign(int(now // _EARLY_PERIOD * _EARLY_PERIOD))
        return True

    def _sign(self, issued_at: int) -> None:
        header = _encode(orjson.dumps({"alg": "ES256", "kid": self._key_id}))
        claims = _encode(orjson.dumps({"iss": self._team_id, "iat": issued_at}))
        signed = header + b"." + claims
        r, s = decode_dss_signature(
            self._key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))
        )
        # JWS takes the two numbers side by side, not their ASN.1 (RFC 7518, 3.4).
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        self._authorization = b"bearer " + signed + b"." + _encode(signature)
        self._issued_at = issued_at


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
