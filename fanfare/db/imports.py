"""Many users with their devices at once: the tables of the audience, written as sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import entitlements, tokens, users
from fanfare.db.tokens import Device, Origin
from fanfare.db.users import UserPatch
from fanfare.entities import Entitlement
from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """What one line says. `entitlements` None leaves them; the devices' user is still unknown."""

    patch: UserPatch
    entitlements: Sequence[Entitlement] | None
    devices: Sequence[Device]


@dataclass(frozen=True, slots=True)
class Imported:
    """How many users and devices were named; which users (by external id) were left out, because
    their properties would have become too large."""

    users: int
    tokens: int
    oversized: frozenset[str]


async def store(
    conn: AsyncConnection, project: ProjectCtx, lines: Sequence[ImportedUser]
) -> Imported:
    """Store lines as if one after the other; of two that name the same token the last one has it.

    Eight statements at most, whatever the number of lines.
    """
    wanted = _by_user(lines)
    await users.lock_imports(conn, project)
    done = await users.upsert(conn, project, [user.patch for user in wanted.values()])
    kept = [user for name, user in wanted.items() if name not in done.oversized]
    concerned = [user.patch.external_id for user in kept if user.devices or user.entitlements]
    emptied = [user.patch.external_id for user in kept if user.entitlements == []]
    ids = await users.lock_ids(conn, project, {*concerned, *emptied})
    owned = {
        ids[user.patch.external_id]: user.entitlements
        for user in kept
        if user.entitlements is not None
    }
    if owned:
        await entitlements.replace(conn, project, owned)
    devices = _devices(kept, ids)
    await tokens.put(conn, project, devices, Origin.IMPORT)
    return Imported(len(kept), len(devices), done.oversized)


def _by_user(lines: Sequence[ImportedUser]) -> Mapping[str, ImportedUser]:
    wanted: dict[str, ImportedUser] = {}
    for line in lines:
        before = wanted.get(line.patch.external_id)
        wanted[line.patch.external_id] = line if before is None else _merged(before, line)
    return wanted


def _merged(before: ImportedUser, after: ImportedUser) -> ImportedUser:
    patch = UserPatch(
        after.patch.external_id,
        {**before.patch.columns, **after.patch.columns},
        {**before.patch.properties, **after.patch.properties},
    )
    given = before.entitlements if after.entitlements is None else after.entitlements
    return ImportedUser(patch, given, [*before.devices, *after.devices])


def _devices(kept: Sequence[ImportedUser], ids: Mapping[str, UUID]) -> Sequence[Device]:
    last = {
        (device.provider, device.token): replace(device, app_user_id=ids[user.patch.external_id])
        for user in kept
        for device in user.devices
    }
    return list(last.values())
