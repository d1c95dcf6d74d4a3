"""Workflows that began under older code must go on under today's: recorded histories replay."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from workflows import WORKFLOWS
from workflows.progress import CampaignInput
from workflows.segments import RefreshInput, RefreshReport

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))

PATHS = {
    "immediate",
    "scheduled",
    "cancelled_while_waiting",
    "failed_without_its_segment",
    "failed_by_refused_credentials",
    "canary_asked_again",
    "refresh_of_every_segment",
    "refresh_of_one_segment",
    "upkeep",
}


def _history(file: Path) -> WorkflowHistory:
    kept = json.loads(file.read_text())
    return WorkflowHistory.from_json(kept["workflow_id"], kept["history"])


def test_every_path_has_a_history() -> None:
    recorded = {file.stem.split("-", 1)[1].rsplit("-", 1)[0] for file in HISTORIES}

    assert recorded == PATHS


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_history_replays(file: Path) -> None:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter)

    replayed = await replayer.replay_workflow(_history(file), raise_on_replay_failure=False)

    assert replayed.replay_failure is None


@workflow.defn(name="PushCampaign")
class ChangedCampaign:
    """What a careless change would make of it: another first step."""

    @workflow.run
    async def run(self, campaign: CampaignInput) -> str:
        await workflow.sleep(timedelta(seconds=1))
        return "sent"


@workflow.defn(name="RefreshSegments")
class ChangedRefresh:
    """And of the refresh."""

    @workflow.run
    async def run(self, refresh: RefreshInput) -> RefreshReport:
        await workflow.sleep(timedelta(seconds=1))
        return refresh.report


@workflow.defn(name="Upkeep")
class ChangedUpkeep:
    """And of the upkeep."""

    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(timedelta(seconds=1))
        return 0


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_changed_workflow_is_caught(file: Path) -> None:
    changed = [ChangedCampaign, ChangedRefresh, ChangedUpkeep]
    replayer = Replayer(workflows=changed, data_converter=pydantic_data_converter)

    replayed = await replayer.replay_workflow(_history(file), raise_on_replay_failure=False)

    assert replayed.replay_failure is not None
