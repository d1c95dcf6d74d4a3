"""Settings that are missing, or cannot be meant, are named; what they hold is not."""

import base64
import os

import pytest

from fanfare.errors import Misconfigured
from fanfare.settings import ApiSettings, WorkerSettings, read

SECRET = "do-not-show-this"
KEK = "v1:" + base64.b64encode(b"k" * 32).decode()
URL = "postgresql://fanfare:fanfare@127.0.0.1/fanfare"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("FANFARE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFARE_DATABASE_URL", URL)
    monkeypatch.setenv("FANFARE_KEK", KEK)
    monkeypatch.setenv("FANFARE_KEY_PEPPER", "p" * 32)
    return monkeypatch


def test_what_is_set_well_is_read() -> None:
    assert read(ApiSettings).database_url.get_secret_value() == URL
    assert read(WorkerSettings).kek.get_secret_value() == KEK


def test_all_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("FANFARE_KEK")
    environment.setenv("FANFARE_DATABASE_URL", "")

    with pytest.raises(Misconfigured) as raised:
        read(WorkerSettings)

    assert str(raised.value) == "FANFARE_DATABASE_URL is not set; FANFARE_KEK is not set."


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FANFARE_KEK", SECRET, "must be <name>:<base64 of 32 bytes>"),
        ("FANFARE_KEK", f"v1:{SECRET}", "must be <name>:<base64 of 32 bytes>"),
        ("FANFARE_KEK", f"{KEK},", "must be <name>:<base64 of 32 bytes>"),
        ("FANFARE_DATABASE_URL", f"postgresql+psycopg://u:{SECRET}@h/d", "must be postgresql://"),
        ("FANFARE_DATABASE_URL", f"mysql://u:{SECRET}@h/d", "must be postgresql://"),
        ("FANFARE_DATABASE_URL", f"postgresql://u:{SECRET}@h:port/d", "must be postgresql://"),
        ("FANFARE_DATABASE_URL", SECRET, "must be postgresql://"),
        ("FANFARE_KEY_PEPPER", SECRET, "must have at least 32 characters"),
        ("FANFARE_PORT", "eighty", "valid integer"),
        ("FANFARE_LOG_LEVEL", "loud", "must be debug, info, warning or error"),
    ],
)
def test_what_cannot_be_meant_is_named_in_one_line(
    environment: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    environment.setenv(variable, value)

    with pytest.raises(Misconfigured) as raised:
        read(ApiSettings)

    assert str(raised.value).startswith(f"{variable}: ")
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
