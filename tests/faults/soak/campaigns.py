"""The campaign of a round: its devices, how the providers treat them, and its project."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from uuid import UUID

import httpx
import orjson

from fanfare.dev.api_client import ApiClient
from fanfare.dev.processes import StackProblem
from fanfare.dev.project import register
from fanfare.dev.reconciliation import Device
from fanfare.dev.simulator.tokens import DEAD
from fanfare.dev.stack import Stack
from fanfare.models import Environment, OnUnknown
from tests.faults.devices import Rule, apns, fcm, lines, rule

WORKERS = 2
# APNs' two environments and FCM: each has a window of its own in each worker.
LANES = 3

# Of a hundred devices. The largest lane decides how long the send takes.
SANDBOX, DEAD_APNS, DEAD_FCM, FCM = 20, 1, 1, 39
LARGEST_LANE = 0.40

# One in twenty is put off once, for some seconds: by FCM with a 503, by APNs with a refused stream.
# A 503 of APNs would put it off for a quarter of an hour.
NOISE_EVERY = 20


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and how slowly: without blows in about `seconds`, by the providers' latency
    and so many messages in flight per lane and worker."""

    size: int = 20_000
    in_flight: int = 100
    seconds: float = 25.0

    @property
    def latency_ms(self) -> float:
        """How long the providers take for each message."""
        return 1_000 * self.seconds * WORKERS * self.in_flight / (LARGEST_LANE * self.size)

    @property
    def at_risk(self) -> int:
        """How many messages one worker has claimed and not recorded in one lane, at most: a window
        in flight, and as many that are answered and not recorded yet."""
        return 2 * self.in_flight


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft to these devices."""

    project_id: UUID
    key: str
    id: UUID
    size: int
    dead: Set[Device]


def prepare(stack: Stack, load: Load, on_unknown: OnUnknown) -> Prepared:
    """Make a project with its devices and a draft to them, and tell the providers how to behave.

    A campaign that sends nothing twice has no dead devices: whether one that was not asked again is
    gone stays unknown. Raises ApiRefused or httpx.HTTPError.
    """
    dead = [] if on_unknown is OnUnknown.SKIP else _dead(load.size)
    devices = [*_living(load.size - len(dead), load.size), *dead]
    _direct(stack, load)
    project = register(stack, "soak")
    _put_limits(stack, project.api_key, load)
    with ApiClient(stack.api_url, project.api_key) as api:
        report = api.import_users(lines(devices))
        if report.tokens != len(devices):
            raise StackProblem(f"The import took other devices than it was given: {report}")
        content = {"title": "Soak", "body": "To everyone.", "on_unknown": on_unknown}
        campaign = api.create_campaign(content)
    return Prepared(project.project_id, project.api_key, campaign.id, load.size, frozenset(dead))


def _dead(size: int) -> Sequence[Device]:
    """Devices that are gone, by the simulator's convention."""
    return [
        *apns(DEAD, size * DEAD_APNS // 100),
        *fcm(DEAD, size * DEAD_FCM // 100),
    ]


def _living(count: int, size: int) -> Sequence[Device]:
    sandbox, google = size * SANDBOX // 100, size * FCM // 100
    return [*apns("0a50", count - sandbox - google), *apns("5a50", sandbox), *fcm("0f50", google)]


def _direct(stack: Stack, load: Load) -> None:
    """Every answer takes its time; the noise comes once per device and round."""
    noise = {"every": NOISE_EVERY, "first_per_token": 1}
    latency = load.latency_ms
    script: Sequence[Rule] = [
        rule("0f50", noise, status=503, retry_after=2, latency_ms=latency),
        rule("[05]a50", noise, action="refuse"),
        {"match": {}, "answer": {"latency_ms": latency}},
    ]
    url = f"{stack.simulator_url}/script"
    httpx.post(url, json=script, trust_env=False).raise_for_status()


def _put_limits(stack: Stack, key: str, load: Load) -> None:
    identity = orjson.loads((stack.account / "account.json").read_bytes())
    shared = {name: identity[name] for name in ("team_id", "key_id", "bundle_id")}
    shared["key_p8"] = (stack.account / "AuthKey.p8").read_text()
    limits = {"messages_per_minute": None, "ramp_seconds": 0, "max_in_flight": load.in_flight}
    google = {"service_account_json": (stack.account / "service-account.json").read_text()}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.api_url, headers=headers, trust_env=False) as http:
        for environment in (Environment.PRODUCTION, Environment.SANDBOX):
            body = {**shared, "environment": environment, "limits": limits}
            http.put("/admin/credentials/apns", json=body).raise_for_status()
        http.put("/admin/credentials/fcm", json={**google, "limits": limits}).raise_for_status()
