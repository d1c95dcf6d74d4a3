"""The simulator's account: the keys and names that a sender needs, kept in one directory.

What is there is used again, so that a restart invalidates nothing.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fanfare.dev.simulator import certificates
from fanfare.dev.simulator.keys import private_pem

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of account.json."""

    team_id: str = "FANFARE001"
    key_id: str = "SIMULATED1"
    bundle_id: str = "dev.fanfare.demo"
    fcm_project_id: str = "fanfare-demo"


@dataclass(frozen=True, slots=True)
class Account:
    """Where the account's files are, and what they say.

    `service_account` is the parsed service-account.json, `token_secret` what access tokens are
    signed with.
    """

    directory: Path
    identity: Identity
    key_p8: str
    service_account: dict[str, str]
    token_secret: bytes

    @property
    def team_id(self) -> str:
        return self.identity.team_id

    @property
    def key_id(self) -> str:
        return self.identity.key_id

    @property
    def bundle_id(self) -> str:
        return self.identity.bundle_id

    @property
    def fcm_project_id(self) -> str:
        return self.identity.fcm_project_id

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def certificate_file(self) -> Path:
        return self.directory / "server.pem"

    @property
    def certificate_key_file(self) -> Path:
        return self.directory / "server-key.pem"


def prepare(directory: Path) -> Account:
    """Return the account in `directory`; what is missing there is made. Secrets are mode 0600."""
    directory.mkdir(parents=True, exist_ok=True)
    identity = Identity(**orjson.loads(_kept(directory / "account.json", _identity, 0o644)))
    key_p8 = _kept(directory / "AuthKey.p8", _p8, 0o600)
    service_account = _kept(
        directory / "service-account.json", lambda: _service_account(identity), 0o600
    )
    _keep_certificates(directory)
    return Account(
        directory=directory,
        identity=identity,
        key_p8=key_p8.decode(),
        service_account=orjson.loads(service_account),
        token_secret=_kept(directory / "token-secret", lambda: secrets.token_bytes(32), 0o600),
    )


def _kept(path: Path, make: Callable[[], bytes], mode: int) -> bytes:
    if not path.exists():
        _write(path, make(), mode)
    return path.read_bytes()


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write by way of a second name, so that a crash leaves no half a file."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    partial.replace(path)


def _keep_certificates(directory: Path) -> None:
    if (directory / "server.pem").exists():
        return
    issued = certificates.issue()
    _write(directory / "ca.pem", issued.authority, 0o644)
    _write(directory / "server-key.pem", issued.server_key, 0o600)
    _write(directory / "server.pem", issued.server, 0o644)


def _identity() -> bytes:
    return orjson.dumps(asdict(Identity()), option=orjson.OPT_INDENT_2)


def _p8() -> bytes:
    return private_pem(ec.generate_private_key(ec.SECP256R1()))


def _service_account(identity: Identity) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    email = f"simulator@{identity.fcm_project_id}.iam.gserviceaccount.com"
    content = {
        "type": "service_account",
        "project_id": identity.fcm_project_id,
        "private_key_id": secrets.token_hex(20),
        "private_key": private_pem(key).decode(),
        "client_email": email,
        "client_id": str(secrets.randbelow(10**20) + 10**20),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": GOOGLE_TOKEN_URI,
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email}",
        "universe_domain": "googleapis.com",
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)
