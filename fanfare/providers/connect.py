"""From a credential to its open provider."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from fanfare.models import ApnsCredential, Credential, Environment, FcmCredential
from fanfare.providers import Provider
from fanfare.providers.apns import ApnsProvider
from fanfare.providers.fcm import FcmProvider
from fanfare.providers.http2_engine import EngineName


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """Where the providers are. The defaults are the real ones; a simulator has others.

    `ca_file` holds the only authorities to trust; None is those of the machine.
    """

    apns_url: str = "https://api.push.apple.com"
    apns_sandbox_url: str = "https://api.sandbox.push.apple.com"
    fcm_url: str = "https://fcm.googleapis.com"
    oauth_url: str = "https://oauth2.googleapis.com/token"
    ca_file: Path | None = None

    def apns(self, environment: Environment) -> str:
        """APNs' address for one of its two worlds."""
        match environment:
            case Environment.PRODUCTION:
                return self.apns_url
            case Environment.SANDBOX:
                return self.apns_sandbox_url


def open_provider(
    credential: Credential, addresses: ProviderAddresses, *, engine: EngineName = "ngh2"
) -> Provider:
    """Return the credential's provider; it connects with the first message.

    Raises InvalidCredential where the credential cannot be used at all.
    """
    ssl_context = client_ssl_context(addresses.ca_file)
    match credential:
        case ApnsCredential():
            url = addresses.apns(credential.environment)
            return ApnsProvider(credential, url=url, ssl_context=ssl_context, engine=engine)
        case FcmCredential():
            return FcmProvider(
                credential,
                url=addresses.fcm_url,
                oauth_url=addresses.oauth_url,
                ca_file=addresses.ca_file,
                ssl_context=ssl_context,
                engine=engine,
            )


def client_ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies the peer and offers HTTP/2 alone."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
