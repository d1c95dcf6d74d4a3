"""What is refused before it is kept, and that no refusal quotes the secret."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fanfare.providers.credentials import (
    InvalidCredential,
    parse_apns_key,
    parse_service_account,
)
from tests.providers.keys import apns_key, pem, rsa_key, service_account


def test_apns_key_is_known_by_its_public_half() -> None:
    public = apns_key().public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    key = parse_apns_key(pem(apns_key()))

    assert key.fingerprint == hashlib.sha256(der).hexdigest()
    assert key.private_key.private_numbers() == apns_key().private_numbers()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa_key()),
    ],
)
def test_other_keys_are_refused_for_apns(text: str) -> None:
    with pytest.raises(InvalidCredential) as caught:
        parse_apns_key(text)

    assert caught.value.field == "key_p8"
    assert text == "" or text not in str(caught.value)


def test_service_account_says_who_it_is() -> None:
    account = parse_service_account(service_account())

    assert account.project_id == "demo"
    assert account.client_email == "sender@demo.iam.gserviceaccount.com"
    assert account.private_key_id == "k1"
    assert len(account.fingerprint) == 64


@pytest.mark.parametrize("project_id", ["fanfare-demo", "a" * 30, "example.com:api-project-1"])
def test_project_ids_that_google_gave_out_are_taken(project_id: str) -> None:
    assert parse_service_account(service_account(project_id=project_id)).project_id == project_id


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "authorized_user"},
        {"project_id": None},
        {"private_key": None},
        {"private_key": "nonsense"},
        {"private_key": pem(apns_key())},
        {"private_key_id": 7},
        {"project_id": "../../x?y"},
        {"project_id": "demo/../other"},
        {"project_id": "demo\r\nHost: x"},
        {"project_id": "demo\n"},
        {"project_id": "Demo"},
        {"project_id": "demo-"},
        {"project_id": "a" * 31},
        {"project_id": "nodots:demo"},
        {"client_email": ""},
        {"client_email": "nobody"},
        {"client_email": "a@b"},
        {"client_email": "a@demo.iam.gserviceaccount.com\r\nX: y"},
        {"client_email": "a@" + ".".join(["b" * 60] * 5)},
        {"token_uri": None},
        {"token_uri": "http://oauth2.googleapis.com/token"},
        {"token_uri": "https://oauth2.googleapis.com.evil.example/token"},
        {"token_uri": "https://169.254.169.254/token"},
        {"token_uri": ["https://oauth2.googleapis.com/token"]},
    ],
)
def test_service_account_that_cannot_work_or_calls_elsewhere_is_refused(
    changes: dict[str, object],
) -> None:
    with pytest.raises(InvalidCredential) as caught:
        parse_service_account(service_account(**changes))

    assert caught.value.field == "service_account_json"


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"'])
def test_file_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidCredential):
        parse_service_account(text)


def test_secrets_are_not_shown() -> None:
    shown = repr(parse_apns_key(pem(apns_key()))) + repr(parse_service_account(service_account()))

    assert "PRIVATE" not in shown
    assert "ECPrivateKey" not in shown
