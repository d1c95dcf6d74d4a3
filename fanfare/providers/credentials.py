"""What is checked before a credential is kept: that it can be used, and that it is what it says."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import NoReturn

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

# Where Google's own files point. A service account's file may name any address, and we would send
# a signed assertion there.
GOOGLE_TOKEN_URIS = frozenset(
    {
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/token",
    }
)
# Both go into what is sent to Google, the project into the path of its URL. Ids of old projects of
# an organisation have its domain before a colon.
_DOMAIN = r"[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_PROJECT_ID = re.compile(rf"(?:{_DOMAIN}:)?[a-z][a-z0-9-]{{2,28}}[a-z0-9]")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_MAX_PUBLIC_ID = 254
_SERVICE_ACCOUNT_FIELDS = (
    "project_id",
    "private_key_id",
    "private_key",
    "client_email",
    "token_uri",
)


class InvalidCredential(ValueError):
    """A credential that cannot work. The message says why and never quotes the secret."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ApnsKey:
    """A key that signs APNs' provider tokens. `fingerprint`: SHA-256 hex of the public key."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A Google service account. `fingerprint`: SHA-256 hex of the public key."""

    project_id: str
    client_email: str
    private_key_id: str
    fingerprint: str
    info: dict[str, object] = field(repr=False)


def parse_apns_key(key_p8: str) -> ApnsKey:
    """Return the P-256 key in a .p8 file's text. Raises InvalidCredential for anything else."""
    key = _private_key(key_p8, "key_p8")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidCredential("key_p8", "the key is not an elliptic-curve key on P-256")
    return ApnsKey(key, _fingerprint(key))


def parse_service_account(json_text: str) -> ServiceAccount:
    """Return what a service account's JSON file says. Raises InvalidCredential.

    Its `token_uri` must be Google's: whoever uploads a file must not choose where we call.
    """
    info = _json_object(json_text)
    if info.get("type") != "service_account":
        _refuse("the file is not a service account's: its type is another")
    project_id, key_id, pem, client_email, token_uri = (
        _text(info, name) for name in _SERVICE_ACCOUNT_FIELDS
    )
    if len(project_id) > _MAX_PUBLIC_ID or _PROJECT_ID.fullmatch(project_id) is None:
        _refuse("project_id is not the id of a Google Cloud project")
    if len(client_email) > _MAX_PUBLIC_ID or _EMAIL.fullmatch(client_email) is None:
        _refuse("client_email is not an e-mail address")
    if token_uri not in GOOGLE_TOKEN_URIS:
        _refuse("token_uri is not Google's")
    key = _private_key(pem, "service_account_json")
    if not isinstance(key, rsa.RSAPrivateKey):
        _refuse("private_key is not an RSA key")
    return ServiceAccount(project_id, client_email, key_id, _fingerprint(key), info)


def _json_object(text: str) -> dict[str, object]:
    try:
        info = orjson.loads(text)
    except orjson.JSONDecodeError:
        _refuse("the file is not JSON")
    if not isinstance(info, dict):
        _refuse("the file is not a JSON object")
    return info


def _text(info: dict[str, object], name: str) -> str:
    value = info.get(name)
    if not isinstance(value, str) or not value:
        _refuse(f"{name} is missing")
    return value


def _private_key(pem: str, field: str) -> object:
    # The library's own message may quote the input; so it goes no further.
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidCredential(field, "there is no usable private key in it") from None


def _fingerprint(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _refuse(message: str) -> NoReturn:
    raise InvalidCredential("service_account_json", message)
