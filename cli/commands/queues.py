"""`runyard queues`: what waits in each queue, and who takes from it."""

from typing import Final

import typer

from cli.database_access import DataDir
from cli.durations import short
from cli.exit_codes import EXIT_PROBLEMS
from cli.listing import AsJson
from cli.local.dev_file import DATA_DIR
from cli.operation.workload import Queue, read_queues
from cli.operation.workload_lists import UNKNOWN, print_workload
from cli.tables import Column, Item

COLUMNS: Final = (
    Column("queue"),
    Column("waiting"),
    Column("oldest", rank=1),
    Column("held_back", rank=2),
    Column("messages", rank=3),
    Column("workers"),
)

app = typer.Typer(add_completion=False)


@app.command()
def queues(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """List the queues: runs that wait, for how long, and who takes them.

    `waiting` are runs that want a worker, `held_back` those that wait for room in their tenant's share,
    `messages` those in Redis. If Redis is away, what it knows is shown as `?`.

    Exit codes: 0 printed, 3 runs wait in a queue from which no worker takes, 1 PostgreSQL or Redis is away.
    """
    found = print_workload(read_queues, queue_row, COLUMNS, data_dir=data_dir, as_json=as_json)
    raise typer.Exit(EXIT_PROBLEMS if any(queue.waiting and not queue.workers for queue in found) else 0)


def queue_row(queue: Queue) -> Item:
    """A queue as a row of a table."""
    return {
        "queue": queue.name,
        "waiting": queue.waiting,
        "oldest": "" if queue.oldest_seconds is None else short(queue.oldest_seconds),
        "held_back": queue.held_back,
        "messages": UNKNOWN if queue.messages is None else queue.messages,
        "workers": UNKNOWN if queue.workers is None else queue.workers,
    }
