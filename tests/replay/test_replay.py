"""Workflows that began under older code must go on under today's: recorded histories replay."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
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
    "rescheduled",
    "unscheduled",
    "removed",
    "cancelled_by_the_row",
    "paused_while_sending",
    "paused_over_its_time",
    "missed",
    "local_time",
    "window_closed_and_opened",
    "sent_again_while_ending",
    "begun_anew",
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


@pytest.fixture(scope="module")
async def failures() -> Mapping[str, Exception]:
    """Which runs do not replay, by their ids. One replayer for all costs as much as for one."""
    return await _failures(WORKFLOWS)


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_history_replays(file: Path, failures: Mapping[str, Exception]) -> None:
    assert failures.get(_history(file).run_id) is None


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


@pytest.fixture(scope="module")
async def caught() -> Mapping[str, Exception]:
    return await _failures([ChangedCampaign, ChangedRefresh, ChangedUpkeep])


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_changed_workflow_is_caught(file: Path, caught: Mapping[str, Exception]) -> None:
    assert caught.get(_history(file).run_id) is not None


async def _failures(workflows: Sequence[type]) -> Mapping[str, Exception]:
    replayer = Replayer(workflows=workflows, data_converter=pydantic_data_converter)
    replayed = await replayer.replay_workflows(_all(), raise_on_replay_failure=False)
    return replayed.replay_failures


async def _all() -> AsyncIterator[WorkflowHistory]:
    for file in HISTORIES:
        yield _history(file)
