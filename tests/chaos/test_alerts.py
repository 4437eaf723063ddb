"""Prometheus scrapes a system that is harmed: each alert fires for its own fault, and ends with it."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cancels import STUBBORN
from tests.support.faults import family
from tests.support.llm_stub import LlmStub
from tests.support.prometheus import (
    Prometheus,
    is_installed,
    panel_queries,
    rules,
    running_prometheus,
)
from tests.support.stack import Stack, environment, running_stack
from tests.support.waiting import wait_until

TOKEN = "scrapers-have-this-token"
PATIENCE = 240.0  # seconds: a window, an outage that has to be noticed, and a slow machine
NOT_TRIED = ("runyard_structure_calls_total",)
"""Metrics of what the drill does not do: their queries may have no data."""

pytestmark = [
    pytest.mark.full_length,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not is_installed, reason="Prometheus is not installed (Debian's package prometheus)"),
]


@pytest.fixture
def stack(tmp_path: Path, llm: LlmStub) -> Generator[Stack]:
    env = environment(
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        PYTHONPATH=str(STUBBORN),
        RUNYARD_METRICS_PORT="0",
        RUNYARD_METRICS_TOKEN=TOKEN,
        # A run that does not stop is slow to stop, and its lease lasts until then.
        RUNYARD_CANCEL_GRACE="6",
        RUNYARD_LEASE_TTL="12",
    )
    with running_stack(tmp_path / "stack", "--concurrency", "10", env=env) as running:
        yield running


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Generator[Prometheus]:
    urls = list(stack.file["metrics_urls"].values())
    with running_prometheus(tmp_path / "prometheus", urls, token=TOKEN) as running:
        wait_until(lambda: running.targets_up == len(urls), timeout=PATIENCE, pause=0.5)
        yield running


@contextmanager
def stopped(stack: Stack, name: str) -> Generator[None]:
    """Stop a process of the stack and all below it, as a machine does that is out of breath."""
    held = family(stack.file["pids"][name])
    for process in held:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in held:
            process.send_signal(signal.SIGCONT)


def load(stack: Stack) -> None:
    """Do a little of everything that works."""
    runs = [stack.create_run(args=["some words"]) for _ in range(5)]
    for run_id in runs:
        stack.wait_for(run_id, "SUCCEEDED", timeout=PATIENCE)
    assert list(stack.frames(runs[0]))
    talking = stack.create_run(stack.create_assistant(model="openai/words-2000-50"), args=["x"])
    stack.wait_for(talking, "RUNNING", timeout=PATIENCE)
    for number, _ in enumerate(stack.frames(talking)):
        if number == 40:
            stack.cancel(talking)
    stack.wait_for(talking, "CANCELLED", timeout=PATIENCE)


def check_queries(stack: Stack, prometheus: Prometheus) -> None:
    """Every query of the dashboard has data while there is some load, and every rule can be evaluated."""
    missing = set(panel_queries())

    def is_complete() -> bool:
        load(stack)
        missing.difference_update(
            [query for query in missing if prometheus.query(query) or any(one in query for one in NOT_TRIED)]
        )
        return not missing

    try:
        wait_until(is_complete, timeout=PATIENCE, pause=1)
    except TimeoutError:
        assert missing == set()
    for rule in rules():
        prometheus.query(rule["expr"])
    assert prometheus.broken_rules == []


def test_alerts_of_models_runs_and_workers_end_with_their_fault(stack: Stack, prometheus: Prometheus) -> None:
    check_queries(stack, prometheus)
    prometheus.wait_for_end(*prometheus.firing, timeout=PATIENCE)  # a slow start is no fault

    # A provider refuses.
    refused = stack.create_assistant(model="openai/status-400")
    for _ in range(5):
        stack.wait_for(stack.create_run(refused, args=["x"]), "FAILED", timeout=PATIENCE)
    prometheus.wait_for("RunyardProviderFails", timeout=PATIENCE)
    assert "RunyardDatabaseAway" not in prometheus.firing
    prometheus.wait_for_end("RunyardProviderFails", timeout=PATIENCE)

    # A run does not stop, beside one that keeps its process.
    neighbour = stack.create_run(stack.create_assistant(model="openai/words-4000-200"), args=["x"])
    deaf = stack.create_run(stack.create_assistant(model="stubborn/sleep"), args=["x"])
    for run_id in (neighbour, deaf):
        stack.wait_for(run_id, "RUNNING", timeout=PATIENCE)
    stack.cancel(deaf)
    prometheus.wait_for("RunyardCancelsSlow", "RunyardThreadsAbandoned", timeout=PATIENCE)
    stack.cancel(neighbour)
    prometheus.wait_for_end("RunyardCancelsSlow", "RunyardThreadsAbandoned", timeout=PATIENCE)

    # A worker stands still for longer than a lease, and lives. It is scraped again before the window is over.
    taken = stack.create_run(stack.create_assistant(model="openai/words-4000-200"), args=["x"])
    stack.wait_for(taken, "RUNNING", timeout=PATIENCE)
    with stopped(stack, "worker"):
        stack.wait_for(taken, "ERROR", timeout=PATIENCE)
    prometheus.wait_for("RunyardLeasesLost", timeout=PATIENCE)
    prometheus.wait_for_end("RunyardLeasesLost", timeout=PATIENCE)

    # The only worker stands still, with a run.
    held = stack.create_run(stack.create_assistant(model="openai/words-4000-200"), args=["x"])
    stack.wait_for(held, "RUNNING", timeout=PATIENCE)
    with stopped(stack, "worker"):
        waiting = stack.create_run(args=["x"])
        for alert in (
            "RunyardWorkerLost",
            "RunyardTargetDown",
            "RunyardWorkersGone",
            "RunyardQueueWithoutWorkers",
            "RunyardNothingConsumed",
        ):
            prometheus.wait_for(alert, timeout=PATIENCE)
    stack.wait_for(waiting, "SUCCEEDED", timeout=PATIENCE)
    prometheus.wait_for_end(
        *("RunyardTargetDown", "RunyardWorkersGone", "RunyardQueueWithoutWorkers"),
        *("RunyardWorkerLost", "RunyardNothingConsumed"),
        timeout=PATIENCE,
    )


def test_alerts_tell_which_server_is_away(stack: Stack, prometheus: Prometheus) -> None:
    prometheus.wait_for_end(*prometheus.firing, timeout=PATIENCE)  # a slow start is no fault
    for process, alert, other in (
        ("redis", "RunyardRedisAway", "RunyardDatabaseAway"),
        ("reconciler", "RunyardReconcilerAway", "RunyardWorkersGone"),
        ("postgres", "RunyardDatabaseAway", "RunyardReconcilerAway"),
    ):
        with stopped(stack, process):
            prometheus.wait_for(alert, timeout=PATIENCE)
            assert other not in prometheus.firing
        prometheus.wait_for_end(alert, timeout=PATIENCE)

    stack.wait_for(stack.create_run(args=["x"]), "SUCCEEDED", timeout=PATIENCE)
