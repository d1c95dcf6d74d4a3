"""Who a scenario is played to, and how the providers are told to treat them.

A token begins with a prefix of its scenario, so that one script serves all that run side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import orjson

from fanfare.dev.reconciliation import Device
from fanfare.dev.simulator.tokens import SANDBOX_MARKER
from fanfare.models import Environment, ProviderName

Rule: TypeAlias = Mapping[str, object]

PLATFORMS = {ProviderName.APNS: "ios", ProviderName.FCM: "android"}
TOKEN_LENGTH = 64


def apns(prefix: str, count: int) -> Sequence[Device]:
    """So many devices of APNs; a prefix in hex that begins with 5a is of the sandbox."""
    return _devices(ProviderName.APNS, prefix, count)


def fcm(prefix: str, count: int) -> Sequence[Device]:
    """So many devices of FCM."""
    return _devices(ProviderName.FCM, prefix, count)


def rule(prefix: str, match: Mapping[str, object] | None = None, /, **answer: object) -> Rule:
    """A rule for the devices of a prefix; `match` narrows it down."""
    return {"match": {"token": f"^{prefix}", **(match or {})}, "answer": answer}


def _devices(provider: ProviderName, prefix: str, count: int) -> Sequence[Device]:
    digits = TOKEN_LENGTH - len(prefix)
    return [(provider, f"{prefix}{number:0{digits}x}") for number in range(count)]


def environment_of(device: Device) -> Environment:
    """Which of APNs' worlds it belongs to, as the simulator has it."""
    provider, token = device
    is_sandbox = provider is ProviderName.APNS and token.startswith(SANDBOX_MARKER)
    return Environment.SANDBOX if is_sandbox else Environment.PRODUCTION


def lines(devices: Sequence[Device]) -> Iterator[bytes]:
    """Lines of an import: a user for each device."""
    for number, device in enumerate(devices):
        provider, token = device
        fields = {
            "token": token,
            "platform": PLATFORMS[provider],
            "environment": environment_of(device),
        }
        line = {"external_id": user_of(number), "push_tokens": [fields]}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def user_of(number: int) -> str:
    """Whose the device at that place is."""
    return f"user-{number}"
