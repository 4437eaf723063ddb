"""Lists of the queues and the workers: what PostgreSQL and Redis together know of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

import typer
from sqlalchemy.orm import Session

from cli.console import failure
from cli.database_access import database_settings
from cli.exit_codes import EXIT_FAILURE
from cli.listing import print_list
from cli.operation.broker import BrokerView
from cli.operation.reading import reader, reading
from cli.operation.workload import Queue, Worker, ask_workers
from cli.tables import Column, Item
from shared.settings import Settings

T = TypeVar("T", Queue, Worker)

UNKNOWN: Final = "?"
"""What stands for a value that only Redis knows, while it is away."""


def print_workload(
    read: Callable[[Session, Settings, BrokerView], list[T]],
    row: Callable[[T], Item],
    columns: Sequence[Column],
    *,
    data_dir: Path,
    as_json: bool,
) -> list[T]:
    """Read and print a list.

    Args:
        read: reads the list.
        row: makes an item of it a row of the table.

    Raises:
        typer.Exit: Redis is away; what PostgreSQL knows is printed.
    """
    settings = database_settings(data_dir)
    with reader(settings) as engine:
        broker = ask_workers(engine, settings)
        with reading(engine) as session:
            found = read(session, settings, broker)
    print_list([asdict(one) if as_json else row(one) for one in found], columns, as_json=as_json)
    if broker.fault is not None:
        failure(broker.fault)
        raise typer.Exit(EXIT_FAILURE)
    return found
