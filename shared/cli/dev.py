"""`runyard dev`: everything on this machine, until Ctrl-C."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from shared.cli.console import notice, output
from shared.cli.dev_file import DATA_DIR, DevFile
from shared.cli.development import Options, development
from shared.cli.invocation import runyard
from shared.cli.worker_options import Concurrency, Processes
from shared.stack import Death

CHECK_PAUSE: Final = 0.1  # seconds between two looks at the processes
app = typer.Typer(add_completion=False)

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command()
def dev(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The API's port; 0 for any free one.", show_default="8000, or any free one"
        ),
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where data, logs and dev.json go.")] = DATA_DIR,
    concurrency: Concurrency = None,
    processes: Processes = None,
) -> None:
    """Run PostgreSQL, Redis, the API, a worker, the reconciler and Flower, until Ctrl-C.

    Servers named by RUNYARD_DATABASE_URL and RUNYARD_REDIS_URL are used instead of own ones.
    """
    options = Options(data_dir, port=port, concurrency=concurrency, processes=processes)
    with stop_requested() as stopping, development(options, report=report_death) as running:
        notice(f"Starting; data and logs are in {data_dir}.")
        if running.wait_until_ready(stopping):
            _greet(running.file, data_dir)
        while not stopping.wait(CHECK_PAUSE):
            running.check()
        notice("Stopping.")
    notice("Stopped.")


@contextmanager
def stop_requested() -> Generator[threading.Event]:
    """An event that is set by the signals that ask us to stop, instead of what they usually do."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    earlier = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    if earlier[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield stopping
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def report_death(death: Death) -> None:
    """Say who died, of what, and what they said last."""
    notice(f"{death.name} died: {death.why}. Started again in {death.restart_in:g} s. It said last:")
    for line in death.last_words.splitlines():
        notice(f"    {line}")


def _greet(file: DevFile, data_dir: Path) -> None:
    elsewhere = "" if data_dir == DATA_DIR else f" --data-dir '{data_dir}'"
    output(f"API      {file.api_url}")
    output(f"API key  {file.api_key}")
    output(f"Flower   {file.flower_url}")
    output(f'Try      {runyard(f"run{elsewhere}")} "Why is the sky blue?"')
    output("Ctrl-C stops everything.")
