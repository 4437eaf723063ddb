"""A stack to break. Its own worker idles on another queue, so that each test brings the worker it breaks."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.keeping import Kept
from tests.support.llm_stub import LlmStub
from tests.support.stack import Stack, environment, running_stack
from tests.support.workers import Worker, running_worker


@pytest.fixture(scope="session")
def chaos_environment(llm: LlmStub) -> dict[str, str]:
    """Leases of 3 s, and three attempts of a run that is lost while RUNNING."""
    return environment(
        RUNYARD_LEASE_TTL="3",
        RUNYARD_HEARTBEAT="0.5",
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        RUNYARD_MAX_ATTEMPTS_RUNNING="3",
    )


@pytest.fixture(scope="module")
def broken_stack(
    kept: Kept, tmp_path_factory: pytest.TempPathFactory, chaos_environment: dict[str, str]
) -> Stack:
    """One `runyard dev` for all tests of a lane that break something."""
    limits = {"RUNYARD_LOCK_TIMEOUT": "2", "RUNYARD_STATEMENT_TIMEOUT": "4", "RUNYARD_DATABASE_TIMEOUT": "4"}
    env = {**chaos_environment, **limits, "RUNYARD_WORKER_QUEUES": "nobody"}
    return kept.get("broken stack", lambda: running_stack(tmp_path_factory.mktemp("chaos"), env=env))


@pytest.fixture(scope="module")
def make_worker(
    tmp_path_factory: pytest.TempPathFactory, broken_stack: Stack, chaos_environment: dict[str, str]
) -> Callable[..., Worker]:
    """Start a worker, to be ended by the given exits."""

    def make(exits: ExitStack, *options: str, processes: int = 1, **env: str) -> Worker:
        log_path: Path = tmp_path_factory.mktemp("worker") / "worker.log"
        settings = {**chaos_environment, **env}
        return exits.enter_context(
            running_worker(broken_stack, log_path, *options, env=settings, processes=processes)
        )

    return make


@pytest.fixture(scope="module")
def workers(make_worker: Callable[..., Worker]) -> Generator[Worker]:
    """Two worker processes with threads, for all tests of a module; dead ones are replaced."""
    with ExitStack() as exits:
        yield make_worker(exits, "--concurrency=10", processes=2)


@pytest.fixture
def new_worker(make_worker: Callable[..., Worker]) -> Generator[Callable[..., Worker]]:
    """Start a worker that ends with the test."""
    with ExitStack() as exits:

        def new(*options: str, processes: int = 1, **env: str) -> Worker:
            return make_worker(exits, *options, processes=processes, **env)

        yield new


@pytest.fixture
def database_url(broken_stack: Stack) -> str:
    """Where the truth is."""
    url: str = broken_stack.file["database_url"]
    return url
