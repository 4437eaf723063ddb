"""`runyard demo`: one run, shown as it happens, on a temporary installation."""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import typer

from cli.client import Client
from cli.commands.demo_view import Showing
from cli.commands.dev import CHECK_INTERVAL, report_exit, stop_requested
from cli.console import is_terminal, notice, output
from cli.exit_codes import EXIT_CODES, EXIT_INTERRUPTED
from cli.local.dev_file import DATA_DIR
from cli.local.development import Development, Options, development
from cli.local.private_files import scratch_directory
from shared.lifecycle import RunStatus

app = typer.Typer(add_completion=False)

DEFAULT_MODEL: Final = "gpt-4.1-mini"
LIMITS: Final = MappingProxyType(
    {
        "RUNYARD_ECHO_WORDS_PER_SECOND": "30",  # slow enough to watch
        "RUNYARD_QUEUE_TTL": "120",
        "RUNYARD_MAX_DURATION": "300",
    }
)

PARAGRAPH: Final = (
    "In three sentences, and for somebody who has never kept bees: why do honeybees dance? "
    "A forager that comes home from a good patch of flowers runs in a figure of eight on the comb, "
    "and the angle of its straight middle part to the vertical is the angle between the flowers and "
    "the sun, while its length tells how far there is to fly. Her sisters follow in the dark, by touch "
    "and by sound, and then most of them fly straight to a place they have never seen."
)


@app.command()
def demo() -> None:
    """Start everything, execute one run, show its events, stop everything.

    A terminal shows the statuses and the growing answer, a pipe a line per event.

    The model is RUNYARD_MODEL. If OPENAI_BASE_URL or OPENAI_API_KEY is set, it defaults to OPENAI_MODEL.
    OPENAI_MODEL defaults to gpt-4.1-mini. Without all of these, the model is `echo`.

    Exit codes: as `runyard run`.
    """
    os.environ.update(demo_environment(os.environ))
    parent = scratch_directory(DATA_DIR)
    with (
        tempfile.TemporaryDirectory(prefix="demo-", dir=parent, ignore_cleanup_errors=True) as directory,
        stop_requested() as stopping,
    ):
        notice("Starting PostgreSQL, Redis, the API, a worker, the reconciler and Flower.")
        with development(Options(Path(directory), port=0), report=report_exit) as running:
            status = _show(running, stopping) if running.wait_until_ready(stopping) else None
            notice("Stopping everything.")
    raise typer.Exit(EXIT_INTERRUPTED if status is None else EXIT_CODES[status])


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of the demonstration that the environment does not set."""
    has_openai = "OPENAI_BASE_URL" in environment or "OPENAI_API_KEY" in environment
    chosen = {
        **(
            {"RUNYARD_MODEL": f"openai/{environment.get('OPENAI_MODEL', DEFAULT_MODEL)}"}
            if has_openai
            else {}
        ),
        **LIMITS,
    }
    return {name: value for name, value in chosen.items() if name not in environment}


def _show(running: Development, stopping: threading.Event) -> RunStatus | None:
    """Execute and show one run; return None if stopped before its end."""
    with Client(running.file.api_url, running.file.api_key) as client:
        run_id = client.create_run(client.ensure_assistant("demo"), PARAGRAPH)
        showing = Showing(datetime.fromisoformat(client.get_run(run_id)["created_at"]))
        notice(
            f"Run {run_id}"
            + ("" if is_terminal() else ". Each line: number, time since its creation, event.")
        )

        def show_events() -> None:
            for event in client.follow(run_id):
                showing.show(event)
                if showing.is_stopped:
                    return

        following = _in_background(show_events)
        try:
            while not following.done():
                running.check()
                running.raise_if_failing()
                if stopping.wait(CHECK_INTERVAL):
                    return None
        finally:
            showing.stop()
        following.result()
        run = client.get_run(run_id)
    status = RunStatus(run["status"])
    if not is_terminal() or status is not RunStatus.SUCCEEDED:
        detail = run.get("status_detail") or {}  # the reason, if there is no answer
        answer = run.get("output") or {"value": detail.get("message", "")}
        output(f"\n{answer['value']}")
    output(f"\n{showing.summary(status)}")
    return status


def _in_background(work: Callable[[], None]) -> Future[None]:
    """Do `work` in a daemon thread, which does not delay the exit."""
    future: Future[None] = Future()

    def body() -> None:
        try:
            work()
            future.set_result(None)
        except BaseException as error:  # noqa: BLE001  # raised by `result`
            future.set_exception(error)

    threading.Thread(target=body, name="demo", daemon=True).start()
    return future
