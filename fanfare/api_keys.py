"""API keys: `pk_<id>_<secret>`, of which only a keyed hash is stored.

The secret holds 256 random bits, so a slow hash would add nothing; the pepper (an environment
secret) makes a stolen table useless by itself.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

_SHAPE = re.compile(r"pk_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` is shown once and never stored."""

    id: str
    text: str
    secret_hash: bytes


def mint(pepper: bytes) -> MintedKey:
    """Make a key and the hash to keep of it."""
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    return MintedKey(key_id, f"pk_{key_id}_{secret}", hash_secret(secret, pepper))


def split(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key's text, None where it is not shaped like one."""
    match = _SHAPE.fullmatch(text)
    return None if match is None else (match[1], match[2])


def hash_secret(secret: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 of the secret under the pepper, 32 bytes."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


def matches(secret: str, secret_hash: bytes, pepper: bytes) -> bool:
    """Whether the hash is that secret's, in constant time."""
    return hmac.compare_digest(hash_secret(secret, pepper), secret_hash)
