"""Every process of a real stack shows its metrics, and they are what the database says."""

import os
import re
import signal
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from shared.processes.ports import free_port
from tests.support.faults import kill
from tests.support.llm_stub import LlmStub
from tests.support.scraping import Scrape
from tests.support.stack import Stack, environment, running_stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker, running_worker

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", re.IGNORECASE)
TOKEN = "scrapers-have-this-token"
PATIENCE = 60  # seconds for what takes a second or two on an idle machine

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(400)]


@pytest.fixture
def measured(tmp_path: Path, llm: LlmStub) -> Generator[Stack]:
    env = environment(
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        RUNYARD_METRICS_PORT="0",
        RUNYARD_METRICS_TOKEN=TOKEN,
    )
    with running_stack(tmp_path, "--concurrency", "10", "--processes", "2", env=env) as running:
        yield running


@pytest.fixture
def prefork(measured: Stack, tmp_path: Path, llm: LlmStub) -> Generator[tuple[Worker, str]]:
    """A prefork worker beside that of the stack, and where its metrics are."""
    port = free_port()
    env = environment(
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        RUNYARD_METRICS_PORT=str(port),
        RUNYARD_METRICS_TOKEN=TOKEN,
    )
    options = ("--pool=prefork", "--concurrency=2", "--name=forks")
    with running_worker(measured, tmp_path / "worker.log", *options, env=env) as worker:
        yield worker, f"http://127.0.0.1:{port}/metrics"


def compared(scrape: Scrape, database_url: str) -> dict[str, tuple[object, object]]:
    """What the processes say, beside what the database says."""

    def rows(query: str) -> dict[tuple[str, ...], float]:
        with psycopg.connect(database_url) as connection:
            return {
                tuple(map(str, labels)): float(count) for *labels, count in connection.execute(query) if count
            }

    ended = "FROM runs WHERE completed_at IS NOT NULL"
    return {
        "submitted": (
            scrape.by("runyard_runs_submitted_total", "kind"),
            rows("SELECT 'assistant', count(*) FROM runs"),
        ),
        "ended": (
            scrape.by("runyard_runs_ended_total", "end", "reason"),
            rows(f"SELECT status, status_detail->>'reason', count(*) {ended} GROUP BY 1, 2"),
        ),
        "durations": (
            scrape.by("runyard_run_duration_seconds_count", "end"),
            rows(f"SELECT status, count(*) {ended} AND started_at IS NOT NULL GROUP BY 1"),
        ),
        "claims": (
            scrape.by("runyard_queue_wait_seconds_count", "kind", "queue"),
            rows("SELECT 'assistant', 'runs', sum(attempt) FROM runs"),
        ),
        "stops": (
            scrape.by("runyard_cancel_stop_seconds_count", "how"),
            rows("""SELECT status_detail->>'stopped_how', count(*) FROM runs
                WHERE status = 'CANCELLED' GROUP BY 1"""),
        ),
        "tokens": (
            scrape.by("runyard_tokens_total", "direction"),
            rows("""SELECT 'input', sum((usage->>'input_tokens')::int) FROM runs
                UNION SELECT 'output', sum((usage->>'output_tokens')::int) FROM runs"""),
        ),
        "queue": (scrape.by("runyard_queue_runs", "queue"), {}),
    }


def test_what_the_processes_count_is_what_the_database_holds(
    measured: Stack, prefork: tuple[Worker, str]
) -> None:
    worker, url = prefork
    urls = [*measured.file["metrics_urls"].values(), url]
    assert len(urls) == 4
    idle = 'runyard_queue_wait_seconds_count{kind="assistant",queue="runs"} 0.0'
    wait_until(
        lambda: sum(idle in text for text in Scrape(urls, token=TOKEN).texts) == 2,  # of both workers
        timeout=PATIENCE,
        pause=0.5,
    )
    runs = [measured.create_run(args=["some words"]) for _ in range(10)]
    for model in ("openai/status-400", "openai/words-3", "nobody/knows"):
        assistant_id = measured.create_assistant(model=model)
        runs += [measured.create_run(assistant_id, args=["x"]) for _ in range(2)]
    long = measured.create_assistant(model="openai/words-5000-200")
    cancelled = [measured.create_run(long, args=["x"]) for _ in range(3)]
    for run_id in cancelled:
        measured.wait_for(run_id, "RUNNING", timeout=PATIENCE)
        measured.cancel(run_id)
    for run_id in (*runs, *cancelled):
        measured.wait_for(run_id, "SUCCEEDED", "FAILED", "ERROR", "CANCELLED", timeout=PATIENCE)
    assert len(list(measured.frames(runs[0]))) > 3
    assert list(measured.frames(runs[0], after=2))

    def differences() -> dict[str, tuple[object, object]]:
        found = compared(Scrape(urls, token=TOKEN), measured.file["database_url"])
        return {what: pair for what, pair in found.items() if pair[0] != pair[1]}

    def check_alike() -> None:
        try:  # counts follow commits, and the observer looks from time to time
            wait_until(lambda: not differences(), timeout=PATIENCE, pause=0.5)
        except TimeoutError:
            assert differences() == {}

    check_alike()
    # What a child of the prefork pool has counted outlives it.
    (parent,) = worker.processes
    for child in parent.children():
        kill(child)
    wait_until(parent.children, timeout=PATIENCE)
    check_alike()

    route = "/api/assistants/{assistant_id}/runs"
    exact: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("runyard_slots", ()): 2 * 10 + 2,
        ("runyard_busy_slots", ()): 0,
        ("runyard_streams_opened_total", (("how", "new"),)): 1,
        ("runyard_streams_opened_total", (("how", "resumed"),)): 1,
        ("runyard_streams_open", ()): 0,
        ("runyard_model_calls_total", (("provider", "openai"), ("outcome", "answered"))): 2,
        ("runyard_model_calls_total", (("provider", "echo"), ("outcome", "answered"))): 10,
        ("runyard_http_requests_total", (("route", route),)): len(runs) + len(cancelled),
        ("runyard_processes", (("kind", "reconciler"),)): 1,
        ("runyard_processes", (("kind", "worker"),)): 2,  # a prefork parent does not beat
        ("runyard_database_up", ()): 1,
    }

    def shown() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        scrape = Scrape(urls, token=TOKEN)
        return {(name, labels): scrape.total(name, **dict(labels)) for name, labels in exact}

    try:  # gauges follow
        wait_until(lambda: shown() == exact, timeout=PATIENCE, pause=0.5)
    except TimeoutError:
        assert shown() == exact

    scrape = Scrape(urls, token=TOKEN)
    assert not any(UUID.search(text) for text in scrape.texts)
    assert scrape.total("runyard_dispatches_total") >= len(runs) + len(cancelled)
    assert scrape.total("runyard_model_calls_total", provider="openai", outcome="failed") >= 2
    assert scrape.total("runyard_flush_seconds_count") > 0
    assert scrape.total("runyard_publish_seconds_count") > 0

    # A stopped supervisor answers no scrape, and its runs go on.
    os.kill(measured.file["pids"]["worker"], signal.SIGSTOP)
    try:
        worker.process.kill()
        worker.process.wait(PATIENCE)
        run_id = measured.create_run(args=["x"])
        assert measured.wait_for(run_id, timeout=PATIENCE)["status"] == "SUCCEEDED"
    finally:
        os.kill(measured.file["pids"]["worker"], signal.SIGCONT)
