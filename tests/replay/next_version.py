"""What the next version of PushCampaign might be: a step more, which an activity of its own does.

Guarded by `workflow.patched`, as every change must be: a run that is past that place without it
goes on without it, and one that is not takes the step and leaves a mark in its history.
"""

from datetime import timedelta

from temporalio import activity, workflow

from tests.workflows.fakes import FakeActivities
from workflows.campaign import PushCampaign
from workflows.fanout import RETRY
from workflows.progress import CampaignInput
from workflows.stubs import CampaignKey

PATCH = "weigh-before-beginning"


@workflow.defn(name="PushCampaign")
class NextCampaign(PushCampaign):
    """Weighs the campaign before it begins."""

    @workflow.init
    def __init__(self, campaign: CampaignInput) -> None:
        super().__init__(campaign)

    @workflow.run
    async def run(self, campaign: CampaignInput) -> str:
        """How it ended, as before."""
        return await super().run(campaign)

    async def _begin(self) -> None:
        if workflow.patched(PATCH):
            await workflow.execute_activity(
                "weigh_campaign",
                self._key,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=RETRY,
            )
        await super()._begin()


@workflow.defn(name="PushCampaign")
class UnguardedCampaign(NextCampaign):
    """The same change, made without a guard."""

    @workflow.init
    def __init__(self, campaign: CampaignInput) -> None:
        super().__init__(campaign)

    @workflow.run
    async def run(self, campaign: CampaignInput) -> str:
        """How it ended, as before."""
        return await super().run(campaign)

    async def _begin(self) -> None:
        await workflow.execute_activity(
            "weigh_campaign", self._key, start_to_close_timeout=timedelta(seconds=30)
        )
        await PushCampaign._begin(self)


class NextActivities:
    """What the next version's workers can do beyond today's."""

    def __init__(self, activities: FakeActivities) -> None:
        self._activities = activities

    @activity.defn(name="weigh_campaign")
    async def weigh(self, key: CampaignKey) -> None:
        """Weigh nothing, and note it."""
        self._activities.calls.append("weigh")
