"""From credential to provider: addresses and trust."""

import asyncio
import ssl

from fanfare.models import Environment
from fanfare.providers.apns import ApnsProvider
from fanfare.providers.connect import ProviderAddresses, client_ssl_context, open_provider
from fanfare.providers.fcm import FcmProvider
from tests.providers.keys import apns_credential, fcm_credential


def test_addresses_are_the_real_ones_unless_told_otherwise() -> None:
    addresses = ProviderAddresses()

    assert addresses.apns(Environment.PRODUCTION) == "https://api.push.apple.com"
    assert addresses.apns(Environment.SANDBOX) == "https://api.sandbox.push.apple.com"
    assert addresses.fcm_url == "https://fcm.googleapis.com"
    assert addresses.oauth_url == "https://oauth2.googleapis.com/token"


async def test_each_credential_opens_its_provider_without_connecting() -> None:
    providers = [
        open_provider(apns_credential(), ProviderAddresses()),
        open_provider(fcm_credential(), ProviderAddresses()),
    ]
    await asyncio.gather(*(provider.close() for provider in providers))

    assert [type(provider) for provider in providers] == [ApnsProvider, FcmProvider]


def test_peers_are_verified_by_name_and_authority() -> None:
    context = client_ssl_context(None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
