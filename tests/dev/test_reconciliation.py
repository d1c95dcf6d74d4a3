"""The audit of a campaign: silent where all accounts agree, and naming whatever differs."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from fanfare.dev.api_client import Campaign, CampaignFailure, CampaignStats
from fanfare.dev.reconciliation import (
    Device,
    Expected,
    ProvidersAccount,
    ProviderStats,
    reconcile,
)
from fanfare.dev.seed import Fate, SeedToken
from fanfare.models import ProviderName

APNS, FCM = ProviderName.APNS, ProviderName.FCM
EXPECTED = Expected(
    {
        (APNS, "aaaa"): Fate.ACCEPTED,
        (FCM, "bbbb"): Fate.ACCEPTED,
        (FCM, "429a"): Fate.THROTTLED,
        (APNS, "dead01"): Fate.DEAD,
        (FCM, "dead02"): Fate.DEAD,
    }
)
TAKEN: Mapping[Device, int] = {(APNS, "aaaa"): 1, (FCM, "bbbb"): 1, (FCM, "429a"): 1}
REJECTED = {"apns 410 Unregistered": 1, "fcm 404 UNREGISTERED": 1, "fcm 429 QUOTA_EXCEEDED": 1}
PROVIDERS = ProvidersAccount(ProviderStats(accepted=3, duplicates=0, rejected=REJECTED), TAKEN)


def campaign(status: str = "sent", **counts: int) -> Campaign:
    stats = {"audience": 5, "sent": 3, "failed": 2, **counts}
    return Campaign(
        id=UUID(int=1),
        name="spring",
        status=status,
        stats=CampaignStats.model_validate(stats),
        failure=None,
    )


def found(campaign: Campaign, providers: ProvidersAccount = PROVIDERS) -> str:
    return "\n".join(reconcile(EXPECTED, campaign, providers).discrepancies)


def providers(taken: Mapping[Device, int], **changes: int) -> ProvidersAccount:
    stats = PROVIDERS.stats.model_copy(update={"accepted": sum(taken.values()), **changes})
    return replace(PROVIDERS, stats=stats, taken=taken)


def test_nothing_differs_where_all_accounts_agree() -> None:
    reconciliation = reconcile(EXPECTED, campaign(), PROVIDERS)

    assert reconciliation.discrepancies == []
    assert all(row.agrees for row in reconciliation.rows)


def test_a_campaign_that_is_not_sent_differs() -> None:
    failed = campaign("failed").model_copy(
        update={"failure": CampaignFailure(code="SEGMENT_NOT_FOUND", message="It was deleted.")}
    )

    assert "should be sent, and is failed (SEGMENT_NOT_FOUND: It was deleted.)" in found(failed)


def test_a_lost_message_is_named() -> None:
    lost = providers({(APNS, "aaaa"): 1, (FCM, "429a"): 1})

    said = found(campaign(), lost)

    assert "1 x a message never reached its provider: fcm bbbb" in said
    assert "sent: expected 3, the providers counted 2" in said


def test_a_message_to_a_stranger_is_named() -> None:
    assert "should not have been asked: apns cccc" in found(
        campaign(), providers({**TAKEN, (APNS, "cccc"): 1})
    )


def test_a_duplicate_is_named() -> None:
    said = found(campaign(), providers({**TAKEN, (FCM, "bbbb"): 2}, duplicates=1))

    assert "1 x a message was accepted more than once: fcm bbbb" in said
    assert "sent twice: expected 0, the providers counted 1" in said


def test_a_wrong_audience_differs() -> None:
    assert "audience: expected 5, Fanfare counted 4" in found(campaign(audience=4))


def test_parts_that_do_not_add_up_differ() -> None:
    said = found(campaign(pending=1))

    assert "the parts of the audience add up to 6, and it has 5" in said
    assert "pending: expected 0, Fanfare counted 1" in said


def test_a_dead_device_that_was_asked_again_differs() -> None:
    without_dead = Expected.of(
        [
            SeedToken(provider, token, fate, "Pixel 9", "4.2.0")
            for (provider, token), fate in EXPECTED.devices.items()
        ],
        without=EXPECTED.dead,
    )

    again = reconcile(without_dead, campaign(audience=3, failed=0), PROVIDERS).discrepancies

    assert again == ["failed: device is gone: expected 0, the providers counted 2"]
