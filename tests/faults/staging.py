"""What a scenario is played with: the stack, a project of its own, and campaigns in it.

Scenarios run side by side on one stack. Each has devices whose tokens begin with a prefix of its
own, so that one script serves them all; and each project has connections of its own, so that what
breaks one breaks no other.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import httpx
import orjson
import psycopg
from temporalio.client import Client, WorkflowHandle

from fanfare.dev.api_client import ApiClient, Campaign
from fanfare.dev.project import register
from fanfare.dev.reconciliation import Device
from fanfare.dev.stack import Stack
from fanfare.models import Environment
from tests.faults import acceptances
from tests.faults.devices import Rule, environment_of, lines
from tests.faults.oracle import Facts, Oracle
from tests.faults.proxy import ChaosProxy
from workflows import starter
from workflows.deployment import UPKEEP_ID

Result = TypeVar("Result")

WORKERS = 2
HELLO = {"title": "Hello", "body": "Version 2 is here."}
DEADLINE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may ask of a provider; a scenario that says nothing is not held back."""

    messages_per_minute: int | None = None
    max_in_flight: int = 2_000

    def fields(self) -> Mapping[str, object]:
        return {
            "messages_per_minute": self.messages_per_minute,
            "ramp_seconds": 0,
            "max_in_flight": self.max_in_flight,
        }


FREE = Limits()


class Outcome(NamedTuple):
    """How a message to the devices of a prefix ended."""

    prefix: str
    status: str
    error_code: str | None = None
    reason: str | None = None


async def leave(plays: Iterable[asyncio.Task[Any]]) -> None:  # Any: whatever they play
    """End what no test has waited for."""
    tasks = list(plays)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """The stack, the proxy before APNs' sandbox, and hands to work them with.

    Whatever waits does so in a thread of its own: the proxy and the other scenarios go on.
    """

    stack: Stack
    proxy: ChaosProxy
    temporal: Client
    threads: ThreadPoolExecutor

    async def do(self, work: Callable[[], Result]) -> Result:
        """Do what blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def until(self, claim: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS) -> None:
        """Return when the claim holds. Raises where the simulator dies, or it takes too long."""
        simulator = self.stack.simulator
        await self.do(lambda: simulator.wait_until(claim, seconds=seconds))

    async def script(self, rules: Sequence[Rule]) -> None:
        """Have the providers behave so from here on."""
        url = f"{self.stack.simulator_url}/script"
        await self.do(lambda: httpx.post(url, json=rules, trust_env=False).raise_for_status())

    def hits(self, number: int) -> int:
        """How many requests the script's rule at that place has decided."""
        answer = httpx.get(f"{self.stack.simulator_url}/script", trust_env=False)
        return int(answer.raise_for_status().json()["data"][number]["hits"])

    async def campaign(
        self,
        devices: Sequence[Device],
        limits: Limits = FREE,
        content: Mapping[str, object] = HELLO,
    ) -> "Staged":
        """A draft to all of these devices, which belong to a new project."""
        return await self.do(lambda: self._campaign(devices, limits, content))

    def _campaign(
        self, devices: Sequence[Device], limits: Limits, content: Mapping[str, object]
    ) -> "Staged":
        project = register(self.stack, "faults")
        environment = environment_of(devices[0])
        key, nothing = project.api_key, UUID(int=0)
        staged = Staged(self, project.project_id, key, nothing, limits, environment, len(devices))
        staged.put_credentials()
        with staged.api() as api:
            report = api.import_users(lines(devices))
            assert report.tokens == len(devices), report
            return replace(staged, id=api.create_campaign(content).id)


@dataclass(frozen=True, slots=True)
class Staged:
    """One campaign, and what a test asks of it. All methods that are not async block.

    Its devices of APNs are of one environment, and the project has credentials for no other.
    """

    stage: Stage
    project_id: UUID
    key: str
    id: UUID
    limits: Limits
    environment: Environment
    size: int

    def api(self) -> ApiClient:
        """The API with the project's key. Close it."""
        return ApiClient(self.stage.stack.api_url, self.key)

    def http(self) -> httpx.Client:
        """The API as any program sees it. Close it."""
        headers = {"Authorization": f"Bearer {self.key}"}
        url = self.stage.stack.api_url
        return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)

    def now(self) -> Campaign:
        """The campaign as it is."""
        with self.api() as api:
            return api.campaign(self.id)

    def put_credentials(self, *, service_account: Mapping[str, object] | None = None) -> None:
        """Set the simulator's account as the project's credentials, or another for FCM."""
        account = self.stage.stack.account
        identity = orjson.loads((account / "account.json").read_bytes())
        names = ("team_id", "key_id", "bundle_id")
        key_p8 = (account / "AuthKey.p8").read_text()
        limits = self.limits.fields()
        shared = {**{name: identity[name] for name in names}, "key_p8": key_p8, "limits": limits}
        given = service_account or orjson.loads((account / "service-account.json").read_bytes())
        with self.http() as http:
            body = {**shared, "environment": self.environment}
            http.put("/admin/credentials/apns", json=body).raise_for_status()
            body = {"service_account_json": given, "limits": limits}
            http.put("/admin/credentials/fcm", json=body).raise_for_status()

    async def send(self) -> None:
        """Send the draft, or what is still owed after a failure."""

        def send() -> None:
            with self.api() as api:
                api.send_campaign(self.id)

        await self.stage.do(send)

    async def over(self) -> Campaign:
        """The campaign, once its workflow has ended."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.workflow().result()
        return await self.stage.do(self.now)

    def register(self, devices: Sequence[tuple[str, str]]) -> None:
        """Have these iOS devices, named by user and token, say that they are there."""
        with self.http() as http:
            for user, token in devices:
                body = {"token": token, "platform": "ios"}
                http.post(f"/admin/users/{user}/push-tokens", json=body).raise_for_status()

    def workflow(self) -> WorkflowHandle[Any, Any]:  # Any: by id, whatever it returns
        return self.stage.temporal.get_workflow_handle(starter.workflow_id(self.id))

    def let_time_pass(self) -> None:
        """Make due what is owed, however far off it was."""
        with psycopg.connect(self.stage.stack.database_url) as conn:
            conn.execute(_MAKE_DUE, {"project": self.project_id, "id": self.id})

    async def take_up_anew(self) -> None:
        """Have the upkeep find the campaign without a workflow, as after a loss of Temporal."""
        await self.workflow().terminate("the scenario lets time pass")
        await self.stage.temporal.get_schedule_handle(UPKEEP_ID).trigger()

    def asked(self) -> int:
        """How many requests the providers had for it."""
        return int(self._stats()["requests"])

    def accepted(self) -> int:
        """How many messages they accepted, a repeat counted again."""
        return int(self._stats()["accepted"])

    def refused(self) -> int:
        """How many of the requests they refused."""
        return sum(self._stats()["rejected"].values())

    def accepted_at(self) -> Sequence[float]:
        """When each message was accepted, in epoch seconds, the first one first."""
        return list(acceptances.moments(self.stage.stack.simulator_url, self.id))

    def value(self, query: str) -> Any:  # Any: whatever the column holds
        """The one value that a query about the campaign finds, by `%(project)s` and `%(id)s`."""
        with psycopg.connect(self.stage.stack.database_url) as conn:
            names = {"project": self.project_id, "id": self.id}
            row = conn.execute(query, names).fetchone()
        return None if row is None else row[0]

    def outcomes(self, prefix_length: int) -> Mapping[Outcome, int]:
        """How many lines of its ledger there are of each kind, by the tokens' prefix."""
        names = {"project": self.project_id, "id": self.id, "length": prefix_length}
        with psycopg.connect(self.stage.stack.database_url) as conn:
            rows = conn.execute(_OUTCOMES, names).fetchall()
        return {Outcome(*row[:4]): row[4] for row in rows}

    def rows(self, condition: str) -> int:
        """How many lines of its ledger meet a condition."""
        return int(
            self.value(
                "SELECT count(*) FROM push_deliveries "
                f"WHERE project_id = %(project)s AND campaign_id = %(id)s AND {condition}"
            )
        )

    def owed(self, condition: str = "true") -> int:
        """How many messages it owes that meet a condition."""
        return int(
            self.value(
                "SELECT count(*) FROM push_owed "
                f"WHERE project_id = %(project)s AND campaign_id = %(id)s AND {condition}"
            )
        )

    def violations(self, facts: Facts | None = None) -> Sequence[str]:
        """What the oracle says of the ended campaign."""
        with self.api() as api:
            return self._oracle().violations(api, self.id, facts)

    def violations_meanwhile(self) -> Sequence[str]:
        """What the oracle says of the campaign under way."""
        return self._oracle().violations_meanwhile(self.id)

    def _oracle(self) -> Oracle:
        return Oracle(self.stage.stack.database_url, self.stage.stack.simulator_url)

    def _stats(self) -> Any:  # Any: JSON
        return acceptances.totals(self.stage.stack.simulator_url, self.id)


MOST_ATTEMPTS = """
    SELECT coalesce(max(attempts), 0) FROM push_owed
    WHERE project_id = %(project)s AND campaign_id = %(id)s
"""

_MAKE_DUE = """
    UPDATE push_owed SET due_at = now() WHERE project_id = %(project)s AND campaign_id = %(id)s
"""

_OUTCOMES = """
    SELECT left(t.token, %(length)s), d.status, d.error_code, d.reason, count(*)
    FROM push_deliveries d JOIN push_tokens t ON t.project_id = d.project_id AND t.id = d.token_id
    WHERE d.project_id = %(project)s AND d.campaign_id = %(id)s
    GROUP BY 1, 2, 3, 4
"""
