"""`runyard dev`: a whole installation on this machine, until Ctrl-C."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.commands.worker_options import Concurrency, Processes
from cli.console import notice, output
from cli.local.dev_file import DATA_DIR
from cli.local.development import Options, development
from cli.local.stack import Exit
from shared.processes.invocation import runyard
from shared.processes.stop_signals import sets

CHECK_INTERVAL: Final = 0.1  # seconds
app = typer.Typer(add_completion=False)

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command()
def dev(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="The port of the API. 0 means any free port.",
            show_default="8000, or any free one",
        ),
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="The directory of data, logs and dev.json.")] = DATA_DIR,
    concurrency: Concurrency = None,
    processes: Processes = None,
) -> None:
    """Run PostgreSQL, Redis, the API, a worker, the reconciler and Flower until Ctrl-C.

    RUNYARD_DATABASE_URL and RUNYARD_REDIS_URL name existing servers to use.
    In the same directory, the other commands find the API, the key and the database.
    """
    options = Options(data_dir, port=port, concurrency=concurrency, processes=processes)
    notice(f"Starting. Data and logs go to {data_dir}.")
    with stop_requested() as stopping, development(options, report=report_exit) as running:
        if running.wait_until_ready(stopping):
            elsewhere = "" if data_dir == DATA_DIR else f" --data-dir '{data_dir}'"
            output(f"API      {running.file.api_url}")
            output(f"API key  {running.file.api_key}")
            if link := running.console_link():
                output(f"Console  {link}")
            output(f"Flower   {running.file.flower_url}")
            output(f'Try      {runyard(f"run{elsewhere}")} "Why is the sky blue?"')
            output("Ctrl-C stops everything.")
        while not stopping.wait(CHECK_INTERVAL):
            running.check()
        notice("Stopping.")
    notice("Stopped.")


@contextmanager
def stop_requested() -> Generator[threading.Event]:
    """Yield an event that SIGINT, SIGTERM and SIGHUP set, instead of their usual effect."""
    stopping = threading.Event()
    stop = sets(stopping)
    earlier = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    if earlier[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield stopping
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def report_exit(ended: Exit) -> None:
    """Print which process exited, how, and the end of its log."""
    notice(f"{ended.name} died: {ended.why}. Started again in {ended.restart_in:g} s. The end of its log:")
    for line in ended.log_tail.splitlines():
        notice(f"    {line}")
