"""How the API and the upkeep reach a workflow: ids, start, signal, and whether one runs."""

import asyncio
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
from fanfare.temporal import CALL_TIMEOUT, answering
from workflows import attributes, queues
from workflows.campaign import PushCampaign
from workflows.progress import CampaignInput
from workflows.stubs import TestKey
from workflows.testpush import SendTestPush

# Longer than a provider may take to answer one message (15 s), shorter than a client waits.
TEST_TIMEOUT = timedelta(seconds=25)


def workflow_id(campaign_id: UUID) -> str:
    """The id of a campaign's workflow, by which the Temporal UI finds it."""
    return f"push-campaign-{campaign_id}"


async def start(client: Client, campaign: Campaign) -> None:
    """Start the campaign's workflow. One that runs already is left to run.

    Raises TemporalUnavailable, where it may have been started all the same: whoever undoes the
    row must make sure that no workflow has begun on it.
    """
    async with answering():
        await client.start_workflow(
            PushCampaign.run,
            CampaignInput(
                project_id=campaign.project_id,
                campaign_id=campaign.id,
                scheduled_at=campaign.scheduled_at,
            ),
            id=workflow_id(campaign.id),
            task_queue=queues.MAIN,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            # A failed campaign that is sent again is a second run under the same id.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=_summary(campaign),
            search_attributes=_search_attributes(campaign),
            rpc_timeout=CALL_TIMEOUT,
        )


async def is_running(client: Client, campaign_id: UUID) -> bool:
    """Whether somebody works on the campaign. Raises TemporalUnavailable."""
    handle = client.get_workflow_handle(workflow_id(campaign_id))
    async with answering():
        try:
            description = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return description.status is WorkflowExecutionStatus.RUNNING


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
