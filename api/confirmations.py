"""Confirmations: an operator has seen what a campaign will do, and to how many devices.

A confirmation is a signed statement that nobody stores: campaign, digest of what was confirmed,
number of devices, end of validity, and their HMAC-SHA256 under a key derived from the pepper.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn, Self
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from api import forecasts
from api.forecasts import Outlook, Planned
from api.resources import Resources
from fanfare.db import projects
from fanfare.db.campaigns import NewCampaign
from fanfare.entities import Timing
from fanfare.errors import AudienceChanged, ConfirmationRequired
from fanfare.models import ProjectCtx

VALID_FOR: Final = timedelta(hours=1)
# An audience may be so much larger or smaller than what was confirmed.
TOLERANCE_PERCENT: Final = 10

_LABEL: Final = b"fanfare campaign confirmation 1"
# Campaign, digest, devices, seconds since 1970. With the MAC 96 bytes: 128 letters, no padding.
_SHAPE: Final = struct.Struct(">16s32sQQ")
_MAC_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The statement that was signed."""

    campaign_id: UUID
    digest: bytes
    devices: int
    expires_at: datetime

    def signed(self, pepper: bytes) -> str:
        """As callers hand it back: 128 letters of URL-safe base64."""
        expires = int(self.expires_at.timestamp())
        packed = _SHAPE.pack(self.campaign_id.bytes, self.digest, self.devices, expires)
        return base64.urlsafe_b64encode(packed + _mac(packed, pepper)).decode()

    @classmethod
    def read(cls, text: str, pepper: bytes) -> Self | None:
        """The statement, None where it was not signed here. In constant time for its length."""
        try:
            signed = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        packed, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if len(packed) != _SHAPE.size or not hmac.compare_digest(mac, _mac(packed, pepper)):
            return None
        campaign, digest, devices, expires = _SHAPE.unpack(packed)
        return cls(UUID(bytes=campaign), digest, devices, datetime.fromtimestamp(expires, UTC))


def issue(campaign_id: UUID, said: NewCampaign, outlook: Outlook, *, now: datetime) -> Confirmation:
    """What somebody who has seen the outlook may confirm."""
    return Confirmation(
        campaign_id=campaign_id,
        digest=_digest(said, outlook),
        devices=outlook.sends,
        # Whole seconds: it says the same before and after it was signed.
        expires_at=(now + VALID_FOR).replace(microsecond=0),
    )


async def require(
    resources: Resources,
    project: ProjectCtx,
    planned: Planned,
    confirmation: str | None,
    *,
    now: datetime,
) -> None:
    """Refuse what goes to more devices than the project allows without a confirmation.

    A confirmation that is given must fit, whether one is asked for or not. A confirmation of a
    campaign without a time holds for whichever time it is given; else it holds for that time.

    One look-up where the project asks for none and none is given; else a forecast, too.
    Raises ConfirmationRequired, AudienceChanged, and what `forecasts.look` raises.
    """
    settings = await projects.find(resources.reads, project)
    if settings.confirm_above is None and confirmation is None:
        return
    outlook = await forecasts.look(resources, project, planned, now=now)
    if confirmation is not None:
        found = Confirmation.read(confirmation, resources.pepper)
        _check(found, planned, outlook, now)
    elif outlook.needs_confirmation:
        _refuse(outlook, "missing", _HOW if planned.saved else _HOW_FOR_NEW)


_HOW = (
    "This campaign goes to more devices than the project sends to without a confirmation. Take "
    "`confirmation.token` from the preview and send it as `confirmation`."
)
_HOW_FOR_NEW = (
    "This campaign goes to more devices than the project sends to without a confirmation. Create "
    "it without a time, preview it, then schedule it with `confirmation.token`."
)

_HOW_FOR_CHANGED = (
    "The campaign, its time or its segment is not as it was confirmed. To confirm a change of one "
    "that is scheduled, make it a draft (`scheduled_at: null`), preview it, and schedule it."
)


def _check(given: Confirmation | None, planned: Planned, outlook: Outlook, now: datetime) -> None:
    saved = planned.saved
    if given is None:
        _refuse(outlook, "invalid", "The confirmation is not one that a preview gave.")
    if saved is None or given.campaign_id != saved.id:
        _refuse(outlook, "other_campaign", "The confirmation is for another campaign.")
    if not _is_confirmed(given.digest, planned.said, outlook):
        _refuse(outlook, "campaign_changed", _HOW_FOR_CHANGED)
    if given.expires_at <= now:
        _refuse(outlook, "expired", "The confirmation has expired. Ask for another preview.")
    if abs(outlook.sends - given.devices) * 100 > given.devices * TOLERANCE_PERCENT:
        raise AudienceChanged(
            f"The audience differs by more than {TOLERANCE_PERCENT} % from what was confirmed.",
            {"confirmed": given.devices, "now": outlook.sends},
        )


def _refuse(outlook: Outlook, reason: str, message: str) -> NoReturn:
    details: Mapping[str, object] = {
        "reason": reason,
        "audience": outlook.sends,
        "confirm_above": outlook.project.confirm_above,
    }
    raise ConfirmationRequired(message, details)


def _is_confirmed(digest: bytes, said: NewCampaign, outlook: Outlook) -> bool:
    fits = hmac.compare_digest(digest, _digest(said, outlook))
    untimed = replace(said, timing=Timing(window=said.timing.window))
    return fits or hmac.compare_digest(digest, _digest(untimed, outlook))


def _digest(said: NewCampaign, outlook: Outlook) -> bytes:
    """Of all that decides what goes out, to whom and when. Its name is nobody's business."""
    confirmed = {
        "project": outlook.project.id,
        "content": asdict(said.content),
        "segment": said.segment_id,
        "rules": outlook.rules,
        "timing": _timing(said.timing),
        "rate_limit": said.rate_limit,
        "expires_at": said.expires_at,
        "on_unknown": said.on_unknown,
    }
    return hashlib.sha256(orjson.dumps(confirmed, option=orjson.OPT_SORT_KEYS)).digest()


def _timing(timing: Timing) -> Mapping[str, object]:
    window = None if timing.window is None else asdict(timing.window)
    if not timing.is_set:
        return {"window": window}
    lateness = timing.max_lateness.total_seconds()
    return {**asdict(timing), "window": window, "max_lateness": lateness}


def _mac(packed: bytes, pepper: bytes) -> bytes:
    key = HKDF(algorithm=SHA256(), length=_MAC_BYTES, salt=None, info=_LABEL).derive(pepper)
    return hmac.digest(key, packed, hashlib.sha256)
