"""Keys and credentials for tests, of the shapes that Apple and Google hand out."""

from functools import cache

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fanfare.models import ApnsCredential, Environment, FcmCredential


@cache
def apns_key() -> ec.EllipticCurvePrivateKey:
    """A key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """A key as service accounts have it."""
    return rsa.generate_private_key(65_537, 2_048)


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """The key's PKCS#8 text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def apns_credential() -> ApnsCredential:
    """A credential for production."""
    return ApnsCredential(
        "TEAM000001", "KEY0000001", "com.example.app", Environment.PRODUCTION, pem(apns_key())
    )


def service_account(**changes: object) -> str:
    """A service account's file with some fields changed; None takes a field out."""
    fields: dict[str, object] = {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "k1",
        "private_key": pem(rsa_key()),
        "client_email": "sender@demo.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    fields |= changes
    return orjson.dumps({k: v for k, v in fields.items() if v is not None}).decode()


def fcm_credential() -> FcmCredential:
    """A credential of the project `demo`."""
    return FcmCredential("demo", "sender@demo.iam.gserviceaccount.com", service_account())
