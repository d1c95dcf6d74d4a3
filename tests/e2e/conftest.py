"""The whole stack as separate processes, once for all of these tests; a project for each."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fanfare.dev.api_client import ApiClient, NewProject
from fanfare.dev.project import register
from fanfare.dev.stack import Ports, Stack

READ_SECONDS = 60


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home: Path = tmp_path_factory.mktemp("stack")
    with Stack.running(home, Ports.find(preferred=False), workers=2) as stack:
        yield stack


@pytest.fixture
def project(stack: Stack) -> NewProject:
    return register(stack, "end to end")


@pytest.fixture
def api(stack: Stack, project: NewProject) -> Iterator[ApiClient]:
    with ApiClient(stack.api_url, project.api_key) as api:
        yield api


@pytest.fixture
def http(stack: Stack, project: NewProject) -> Iterator[httpx.Client]:
    """The API as any program sees it."""
    headers = {"Authorization": f"Bearer {project.api_key}"}
    with httpx.Client(
        base_url=stack.api_url, headers=headers, timeout=READ_SECONDS, trust_env=False
    ) as http:
        yield http
