"""`runyard demo`: one run before your eyes, on a stack that is there for nothing else."""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import typer

from shared.cli.client import Client
from shared.cli.console import is_terminal, notice, output
from shared.cli.demo_view import Showing
from shared.cli.dev import CHECK_PAUSE, report_death, stop_requested
from shared.cli.dev_file import DATA_DIR
from shared.cli.development import Development, Options, development
from shared.cli.runs import EXIT_CODES, INTERRUPTED
from shared.private_files import passing_directory
from shared.runs.lifecycle import RunStatus

app = typer.Typer(add_completion=False)

DEFAULT_MODEL: Final = "gpt-4.1-mini"
LIMITS: Final = MappingProxyType(
    {
        "RUNYARD_ECHO_WORDS_PER_SECOND": "30",  # slow enough to be watched
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
    """Start everything, execute one run, show it as it happens, stop everything.

    A person sees the answer grow, with the moves of the run around it; a program gets a line an event.

    Exit code 0 if the run SUCCEEDED, else as `runyard run`. The model is RUNYARD_MODEL; without it,
    if OPENAI_BASE_URL or OPENAI_API_KEY is set, OPENAI_MODEL (gpt-4.1-mini if unset); else `echo`.
    """
    os.environ.update(demo_environment(os.environ))
    place = passing_directory(DATA_DIR)
    with (
        tempfile.TemporaryDirectory(prefix="demo-", dir=place, ignore_cleanup_errors=True) as directory,
        stop_requested() as stopping,
    ):
        notice("Starting PostgreSQL, Redis, the API, a worker, the reconciler and Flower.")
        with development(Options(Path(directory), port=0), report=report_death) as running:
            status = _show(running, stopping) if running.wait_until_ready(stopping) else None
            notice("Stopping everything.")
    raise typer.Exit(INTERRUPTED if status is None else EXIT_CODES[status])


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the demonstration sets, unless it is set already."""
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
    """Execute one run; None if told to stop before it ended: from then on nothing is shown of it."""
    with Client(running.file.api_url, running.file.api_key) as client:
        run_id = client.create_run(client.ensure_assistant("demo"), PARAGRAPH)
        showing = Showing(datetime.fromisoformat(client.get_run(run_id)["created_at"]))
        notice(f"Run {run_id}" + ("" if is_terminal() else ": number, time since it was made, event."))
        following = _in_background(lambda: _follow(client, run_id, showing))
        try:
            while not following.done():
                running.check()
                running.raise_if_hopeless()
                if stopping.wait(CHECK_PAUSE):
                    return None
        finally:
            showing.stop()
        following.result()
        run = client.get_run(run_id)
    status = RunStatus(run["status"])
    if not is_terminal() or status is not RunStatus.SUCCEEDED:
        output(f"\n{_said(run)}")
    output(f"\n{showing.summary(status)}")
    return status


def _follow(client: Client, run_id: str, showing: Showing) -> None:
    for event in client.follow(run_id):
        showing.show(event)
        if showing.is_stopped:
            return


def _said(run: Mapping[str, Any]) -> str:
    """The answer, or why there is none."""
    told = run.get("output") or {"value": (run.get("status_detail") or {}).get("message", "")}
    return str(told["value"])


def _in_background(work: Callable[[], None]) -> Future[None]:
    """Do this in a thread that keeps nobody from leaving."""
    future: Future[None] = Future()

    def body() -> None:
        try:
            work()
            future.set_result(None)
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=body, name="demo", daemon=True).start()
    return future
