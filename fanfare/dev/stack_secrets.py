"""The secrets that a stack makes for itself."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fanfare.api_keys import mint
from fanfare.dev import private_files


@dataclass(frozen=True, slots=True)
class Secrets:
    """The stack's own secrets, made at its first start and kept with its data."""

    kek: str
    key_pepper: str
    operator_key: str
    database_password: str

    @classmethod
    def keep(cls, path: Path) -> Self:
        """Those in the file, which is written where it is new."""
        kept = private_files.read(path)
        if kept is None:
            kept = {
                "kek": f"dev:{base64.b64encode(secrets.token_bytes(32)).decode()}",
                "key_pepper": secrets.token_urlsafe(32),
                "operator_key": mint(b"").text,
                "database_password": secrets.token_urlsafe(24),
            }
            private_files.write(path, kept)
        return cls(**kept)
