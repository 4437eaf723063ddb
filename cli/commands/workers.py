"""`runyard workers`: the workers, with their slots and their queues."""

from typing import Final

import typer

from cli.database_access import DataDir
from cli.durations import short
from cli.exit_codes import EXIT_PROBLEMS
from cli.listing import AsJson
from cli.local.dev_file import DATA_DIR
from cli.operation.workload import Worker, WorkerState, read_workers
from cli.operation.workload_lists import UNKNOWN, print_workload
from cli.tables import Column, Fit, Item

COLUMNS: Final = (
    Column("worker"),
    Column("state"),
    Column("busy"),
    Column("slots"),
    Column("queues", Fit.CUT, rank=1),
    Column("last_beat", rank=2),
    Column("process", rank=3),
)

app = typer.Typer(add_completion=False)


@app.command()
def workers(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """List the workers, with their slots and their queues.

    `ok` answers through Redis, `unreached` has a heartbeat in PostgreSQL and does not answer, `silent` has
    none either. If Redis is away, what it knows is shown as `?`.

    Exit codes: 0 printed, 3 no worker answers, 1 PostgreSQL or Redis is away.
    """
    found = print_workload(read_workers, worker_row, COLUMNS, data_dir=data_dir, as_json=as_json)
    raise typer.Exit(0 if any(worker.state is WorkerState.OK for worker in found) else EXIT_PROBLEMS)


def worker_row(worker: Worker) -> Item:
    """A worker as a row of a table."""
    return {
        "worker": worker.name,
        "state": worker.state.value,
        "busy": worker.busy,
        "slots": UNKNOWN if worker.slots is None else worker.slots,
        "queues": UNKNOWN if worker.queues is None else ", ".join(worker.queues),
        "last_beat": "" if worker.beat_seconds is None else f"{short(worker.beat_seconds)} ago",
        "process": worker.process or "",
    }
