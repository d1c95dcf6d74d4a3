"""Secrets at rest: AES-256-GCM with a fresh data key per secret, wrapped by a key of the operator.

The key-encryption keys come as `v2:<base64>,v1:<base64>` (32 bytes each): the first seals, all
open, so that a key is rotated by putting a new one in front.
"""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fanfare.entities import SealedSecret

_NONCE_BYTES = 12
_KEY_BYTES = 32


class CannotOpen(Exception):
    """The secret was sealed with a key that is not in the ring, or was tampered with."""


class KeyRing:
    """The operator's key-encryption keys, by name; the first seals."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for anything but `name:<base64 of 32 bytes>[,...]`."""
        self._keys = dict(_parse_key(part) for part in text.split(","))
        self._sealing_name = next(iter(self._keys))

    def seal(self, secret: str, *, context: str) -> SealedSecret:
        """Encrypt. `context` (project, kind and row) must be the same to open it again."""
        data_key = secrets.token_bytes(_KEY_BYTES)
        sealing_key = self._keys[self._sealing_name]
        return SealedSecret(
            secret=_encrypt(data_key, secret.encode(), context),
            wrapped_key=_encrypt(sealing_key, data_key, context),
            wrapped_by=self._sealing_name,
        )

    def open(self, sealed: SealedSecret, *, context: str) -> str:
        """Decrypt. Raises CannotOpen."""
        try:
            data_key = _decrypt(self._keys[sealed.wrapped_by], sealed.wrapped_key, context)
            return _decrypt(data_key, sealed.secret, context).decode()
        except (KeyError, InvalidTag) as error:
            raise CannotOpen(f"no key opens this secret (sealed by {sealed.wrapped_by})") from error


def _parse_key(part: str) -> tuple[str, bytes]:
    name, _, encoded = part.strip().partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("FANFARE_KEK: a key is not base64") from error
    if not name or len(key) != _KEY_BYTES:
        raise ValueError("FANFARE_KEK must be <name>:<base64 of 32 bytes>, parted by commas")
    return name, key


def _encrypt(key: bytes, plain: bytes, context: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def _decrypt(key: bytes, sealed: bytes, context: str) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
