"""How the API and the upkeep reach a workflow: ids, start, signal, and whether one runs."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from fanfare.entities import Campaign
from fanfare.errors import WorkerUnavailable
from fanfare.models import CampaignStatus, DeliveryMode, PastPolicy
from fanfare.temporal import CALL_TIMEOUT, answering
from workflows import attributes, queues
from workflows.campaign import PushCampaign
from workflows.progress import CampaignInput
from workflows.stubs import Standing, TestKey
from workflows.testpush import SendTestPush

# Longer than a provider may take to answer one message (15 s), shorter than a client waits.
TEST_TIMEOUT = timedelta(seconds=25)


_PREFIX = "push-campaign-"
_RUNNING = "WorkflowType = 'PushCampaign' AND ExecutionStatus = 'Running'"


def workflow_id(campaign_id: UUID) -> str:
    """The id of a campaign's workflow, by which the Temporal UI finds it."""
    return f"{_PREFIX}{campaign_id}"


def standing_of(campaign: Campaign, *, is_bucketed: bool) -> Standing:
    """What the workflow is told of the row.

    One that is being sent has no time to wait for, or to be late for, whatever it was. Who would
    rather be late than silent, in local time, is never too late.
    """
    timing = campaign.timing
    is_waiting = campaign.status is CampaignStatus.SCHEDULED
    is_local = timing.delivery_mode is DeliveryMode.LOCAL_TIME
    is_patient = is_local and timing.past_policy is PastPolicy.SEND_NOW
    return Standing(
        status=campaign.status,
        is_paused=campaign.paused_at is not None,
        revision=campaign.revision,
        scheduled_at=timing.scheduled_at if is_waiting else None,
        is_bucketed=is_bucketed,
        max_lateness=None if is_patient else timing.max_lateness,
        in_doubt_since=campaign.in_doubt_since,
    )


async def start(client: Client, campaign: Campaign) -> None:
    """Start the campaign's workflow. One that runs already is left to run.

    Raises TemporalUnavailable, where it may have been started all the same: whoever undoes the
    row must make sure that no workflow has begun on it.
    """
    await _start(client, campaign)


async def follow(client: Client, campaign: Campaign) -> None:
    """Have the campaign's workflow look at the row; where none runs, one is started that does.

    Also one that is about to end looks once more. Raises TemporalUnavailable.
    """
    await _start(client, campaign, signal="changed")


async def tell(client: Client, campaign_id: UUID) -> None:
    """Have the workflow that runs look at its campaign's row; it ends where that is gone. Where
    none runs, nothing happens.

    Raises TemporalUnavailable.
    """
    handle = client.get_workflow_handle(workflow_id(campaign_id))
    async with answering(CALL_TIMEOUT):
        try:
            await handle.signal(PushCampaign.changed, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def is_running(client: Client, campaign_id: UUID) -> bool:
    """Whether somebody works on the campaign. Raises TemporalUnavailable."""
    handle = client.get_workflow_handle(workflow_id(campaign_id))
    async with answering(CALL_TIMEOUT):
        try:
            description = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return description.status is WorkflowExecutionStatus.RUNNING


async def has_begun(client: Client, campaign_id: UUID) -> bool:
    """Whether a workflow of the campaign began to send it, or has ended. Raises
    TemporalUnavailable."""
    handle = client.get_workflow_handle(workflow_id(campaign_id))
    async with answering(CALL_TIMEOUT):
        try:
            found = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        status = found.typed_search_attributes.get(attributes.STATUS)
        is_running = found.status is WorkflowExecutionStatus.RUNNING
        return not is_running or status == CampaignStatus.SENDING


async def running_campaigns(client: Client) -> Sequence[UUID]:
    """The campaigns whose workflows run; one that began a moment ago may be missing.

    Costs a call per thousand. Raises TemporalUnavailable.
    """
    async with answering():
        running = client.list_workflows(_RUNNING, rpc_timeout=CALL_TIMEOUT)
        return [UUID(found.id.removeprefix(_PREFIX)) async for found in running]


async def send_test(client: Client, project_id: UUID, test_id: UUID) -> None:
    """Run a test push to its end. Raises TemporalUnavailable or WorkerUnavailable."""
    async with answering():
        handle = await client.start_workflow(
            SendTestPush.run,
            TestKey(project_id=project_id, test_id=test_id),
            id=f"push-test-{test_id}",
            task_queue=queues.MAIN,
            execution_timeout=TEST_TIMEOUT,
            rpc_timeout=CALL_TIMEOUT,
        )
        try:
            await asyncio.wait_for(handle.result(), TEST_TIMEOUT.total_seconds())
        except (TimeoutError, WorkflowFailureError) as error:
            raise WorkerUnavailable("No worker sent the test push in time.") from error


async def _start(client: Client, campaign: Campaign, *, signal: str | None = None) -> None:
    async with answering(CALL_TIMEOUT):
        await client.start_workflow(
            PushCampaign.run,
            _input(campaign),
            id=workflow_id(campaign.id),
            task_queue=queues.MAIN,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            # A failed campaign that is sent again is a second run under the same id.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=signal,
            static_summary=_summary(campaign),
            search_attributes=_search_attributes(campaign),
            rpc_timeout=CALL_TIMEOUT,
        )


def _input(campaign: Campaign) -> CampaignInput:
    """What the row says."""
    standing = standing_of(campaign, is_bucketed=campaign.timing.is_bucketed)
    return CampaignInput(project_id=campaign.project_id, campaign_id=campaign.id).heard(standing)


def _summary(campaign: Campaign) -> str:
    # A campaign without a name of its own is called by its title, and titles stay out of history.
    named = campaign.name != campaign.content.title
    return campaign.name[:200] if named else f"campaign {campaign.id}"


def _search_attributes(campaign: Campaign) -> TypedSearchAttributes:
    pairs = [
        SearchAttributePair(attributes.STATUS, campaign.status.value),
        SearchAttributePair(attributes.PROJECT, str(campaign.project_id)),
    ]
    if campaign.segment_id is not None:
        pairs.append(SearchAttributePair(attributes.SEGMENT, campaign.segment_id))
    return TypedSearchAttributes(pairs)
