"""The activity `send_test_push`."""

import asyncio

from temporalio import activity

from activities.senders import Senders
from fanfare.db import push_tests
from fanfare.db.engine import Database
from fanfare.db.push_tests import PushTest, TestResult, TestTarget
from fanfare.errors import InvalidCredential
from fanfare.models import (
    ErrorCode,
    Lane,
    Outcome,
    ProjectCtx,
    ProviderName,
    Target,
    Verdict,
)
from fanfare.payload import apns_id
from fanfare.providers import Notification, Send
from workflows.stubs import TestKey, TestPushActivities


class TestPushes(TestPushActivities):
    """Implements `send_test_push` with the database and the providers."""

    __test__ = False

    def __init__(self, database: Database, senders: Senders) -> None:
        self._database = database
        self._senders = senders

    @activity.defn(name="send_test_push")
    async def send_test_push(self, key: TestKey) -> None:
        """Send to each target and store an answer per target. It is run once only."""
        project = ProjectCtx(key.project_id)
        async with self._database.transaction() as conn:
            test = await push_tests.get(conn, project, key.test_id)
        if test is None or test.results is not None:
            return
        # All that can fail as a whole comes before the first message goes out.
        lanes = {target.lane for target in test.targets}
        senders = {lane: await self._sender(project, test, lane) for lane in lanes}
        asking = [
            _ask(senders[target.lane], test, place) for place, target in enumerate(test.targets)
        ]
        results = await asyncio.gather(*asking)
        async with self._database.transaction() as conn:
            await push_tests.answer(conn, project, key.test_id, results)

    async def _sender(self, project: ProjectCtx, test: PushTest, lane: Lane) -> Send | TestResult:
        """What sends on the lane, or why nothing does."""
        try:
            sender = await self._senders.find(project, lane)
        except InvalidCredential as error:
            return _no_credential(error.message)
        if sender is None:
            return _no_credential(f"the project has no credential for {lane}")
        return sender.provider.prepare(Notification(test.id, test.content))


async def _ask(sender: Send | TestResult, test: PushTest, place: int) -> TestResult:
    if isinstance(sender, TestResult):
        return sender
    (answered,) = [group async for group in sender([_numbered(test.targets[place], place)])]
    ((target, outcome),) = answered
    if test.targets[place].lane.provider is ProviderName.APNS and outcome.verdict is Verdict.SENT:
        outcome = outcome._replace(provider_message_id=apns_id(test.id, target.token_id))
    return _result(outcome)


def _numbered(target: TestTarget, place: int) -> Target:
    # The number only has to differ between the targets of this test: apns-id is made of it.
    return Target(target.token_id or -1 - place, target.token)


def _result(outcome: Outcome) -> TestResult:
    return TestResult(
        status=_STATUS[outcome.verdict],
        error_code=outcome.error_code,
        reason=outcome.reason,
        provider_message_id=outcome.provider_message_id,
    )


def _no_credential(reason: str) -> TestResult:
    return TestResult("failed", ErrorCode.CREDENTIALS, reason, None)


# A test is one attempt: what a campaign would try again is a failure here.
_STATUS = {
    Verdict.SENT: "sent",
    Verdict.FAILED: "failed",
    Verdict.RETRY: "failed",
    Verdict.CREDENTIALS: "failed",
    Verdict.UNKNOWN: "unknown",
}
