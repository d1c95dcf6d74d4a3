"""The ledger as a file: spelt as in JSON."""

import csv
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from api.routes.deliveries import COLUMNS, as_csv, as_ndjson
from fanfare.entities import Delivery
from fanfare.models import DeliveryStatus, Platform, ProviderName

SENT = Delivery(
    campaign_id=UUID(int=1),
    token_id=7,
    app_user_id=None,
    provider=ProviderName.APNS,
    platform=Platform.IOS,
    status=DeliveryStatus.SENT,
    error_code=None,
    reason=None,
    provider_message_id='a "quoted", id',
    possible_duplicate=True,
    recorded_at=datetime(2026, 11, 23, 6, 49, 24, tzinfo=UTC),
)


async def ledger() -> AsyncIterator[Sequence[Delivery]]:
    yield [SENT]


async def test_csv_spells_times_and_truths_as_json_does() -> None:
    text = "".join([part async for part in as_csv(ledger())])

    header, row = csv.reader(text.splitlines())
    assert tuple(header) == COLUMNS
    assert dict(zip(header, row, strict=True)) == {
        "campaign_id": "00000000-0000-0000-0000-000000000001",
        "token_id": "7",
        "app_user_id": "",
        "provider": "apns",
        "platform": "ios",
        "status": "sent",
        "error_code": "",
        "reason": "",
        "provider_message_id": 'a "quoted", id',
        "possible_duplicate": "true",
        "recorded_at": "2026-11-23T06:49:24Z",
    }


async def test_ndjson_has_a_delivery_a_line() -> None:
    content = b"".join([part async for part in as_ndjson(ledger())])

    (line,) = content.splitlines()
    assert json.loads(line)["recorded_at"] == "2026-11-23T06:49:24Z"
    assert json.loads(line)["possible_duplicate"] is True
