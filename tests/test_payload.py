"""What content becomes on the wire, to the byte."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from firebase_admin import messaging
from hypothesis import given
from hypothesis import strategies as st

from fanfare import payload
from fanfare.models import Content, ProviderName

CAMPAIGN = UUID("01932c5e-8f7a-7cc3-98c4-dc0c0c07398f")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CONTENT = Content("Hello", "Grüße 🎺", {"url": "app://x", "n": 3, "deep": {"a": [1, None]}})
PLAIN = Content("Hello", "World", {})


def test_apns_body_is_compact_with_data_beside_aps() -> None:
    body = payload.render_apns(CONTENT)

    assert orjson.loads(body) == {
        "url": "app://x",
        "n": 3,
        "deep": {"a": [1, None]},
        "aps": {"alert": {"title": "Hello", "body": "Grüße 🎺"}, "mutable-content": 1},
    }
    assert b": " not in body
    assert "Grüße".encode() in body


def test_fcm_data_are_strings_and_other_values_compact_json() -> None:
    body = _fcm_body(CONTENT)

    assert body["message"]["data"] == {"url": "app://x", "n": "3", "deep": '{"a":[1,null]}'}


def test_fcm_message_is_the_one_that_firebase_would_send() -> None:
    notification = messaging.Notification(title="Hello", body="World")
    with pytest.warns(DeprecationWarning, match="token"):
        message = messaging.Message(
            notification=notification,
            token="t0ken",
            android=messaging.AndroidConfig(
                priority="high",
                ttl=timedelta(seconds=60),
                notification=messaging.AndroidNotification(tag=str(CAMPAIGN)),
            ),
        )

    assert _fcm_body(PLAIN, token="t0ken", ttl=60)["message"] == orjson.loads(str(message))


def test_fcm_token_is_escaped_as_json() -> None:
    body = _fcm_body(PLAIN, token='a"b\\c')

    assert body["message"]["token"] == 'a"b\\c'


def test_repeat_is_shown_once_by_the_same_tag() -> None:
    body = _fcm_body(PLAIN)

    assert body["message"]["android"]["notification"]["tag"] == payload.collapse_id(CAMPAIGN)
    assert len(payload.collapse_id(CAMPAIGN).encode()) <= 64


@pytest.mark.parametrize(
    "key", ["aps", "from", "message_type", "google", "google.x", "gcm", "gcm.n.e", "googlex"]
)
def test_reserved_data_keys_are_named(key: str) -> None:
    assert payload.reserved_data_keys({"fine": 1, key: 2}) == [key]


@pytest.mark.parametrize("key", ["Aps", "aps_id", "fromage", "message", "a.google"])
def test_other_data_keys_are_free(key: str) -> None:
    assert payload.reserved_data_keys({key: {"aps": 1}}) == []


def test_size_for_apns_is_that_of_the_body_sent() -> None:
    assert payload.payload_sizes(CONTENT)[ProviderName.APNS] == len(payload.render_apns(CONTENT))


def test_size_for_fcm_is_that_of_the_longest_message_without_its_token() -> None:
    message = _fcm_body(CONTENT, token="", ttl=2_419_200)["message"]
    del message["token"]

    assert payload.payload_sizes(CONTENT)[ProviderName.FCM] == len(orjson.dumps(message))


@pytest.mark.parametrize("data", [{"n": 2**70}, {"s": "\ud800"}, {"o": object()}])
def test_content_that_json_cannot_carry_is_named_so(data: dict[str, object]) -> None:
    content = Content("t", "b", data)

    with pytest.raises(payload.UnrenderableContent):
        payload.payload_sizes(content)


@given(st.uuids(), st.sets(st.integers(1, 2**62 - 1), min_size=2, max_size=20))
def test_apns_ids_are_distinct_lower_case_and_repeatable(campaign: UUID, ids: set[int]) -> None:
    texts = [payload.apns_id(campaign, token_id) for token_id in sorted(ids)]

    assert len(set(texts)) == len(ids)
    assert texts == [str(UUID(text)) for text in texts]
    assert texts == [payload.apns_id(campaign, token_id) for token_id in sorted(ids)]


def test_apns_id_keeps_version_and_variant() -> None:
    message_id = UUID(payload.apns_id(CAMPAIGN, 2**62 - 1))

    assert (message_id.version, message_id.variant) == (CAMPAIGN.version, CAMPAIGN.variant)


def test_expiration_is_explicit_and_28_days_ahead_by_default() -> None:
    assert payload.expiration_epoch(None, NOW) == int((NOW + timedelta(days=28)).timestamp())
    assert payload.expiration_epoch(NOW, NOW) == int(NOW.timestamp())


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(60, 60), (-5, 0), (0, 0), (86_400 * 40, 2_419_200)]
)
def test_ttl_stays_within_what_fcm_takes(ahead: int, seconds: int) -> None:
    assert payload.ttl_seconds(NOW + timedelta(seconds=ahead), NOW) == seconds


def test_ttl_is_the_longest_by_default() -> None:
    assert payload.ttl_seconds(None, NOW) == 2_419_200


def _fcm_body(
    content: Content, *, token: str = "t", ttl: int = 60
) -> dict[str, Any]:  # Any: parsed JSON
    message = payload.with_ttl(payload.render_fcm(content, CAMPAIGN), ttl)
    body: dict[str, Any] = orjson.loads(payload.fill_fcm(message, token))
    return body
