"""Keys and certificates as PEM, in the forms that Apple and Google hand out."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private_pem(key: PrivateKey) -> bytes:
    """PKCS#8, not encrypted, as in a .p8 file and in a service account's JSON."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def public_key_of(private: bytes) -> str:
    """The public half of a PEM private key of ours, as PEM, for checking signatures."""
    # Checking an RSA key's primes costs 0.1 s at every start, and this one we made.
    loaded = load_pem_private_key(private, password=None, unsafe_skip_rsa_key_validation=True)
    key = loaded.public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
