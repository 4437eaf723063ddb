"""The worker's options (`shared.workers`) as parameters of `runyard worker` and `runyard dev`."""

from typing import Annotated, Any

import typer

from shared import workers
from shared.workers import Pool, WorkerOption


def _option(option: WorkerOption) -> Any:
    def parse(text: str) -> Any:
        try:
            return option.parse(text)
        except ValueError as error:
            sentence = str(error)
            raise typer.BadParameter(f"{sentence[:1].upper()}{sentence[1:]}.") from error

    return typer.Option(
        option.flag, parser=parse, metavar=option.metavar, help=option.help, show_default=option.default
    )


Concurrency = Annotated[int | None, _option(workers.CONCURRENCY)]
Name = Annotated[str | None, _option(workers.NAME)]
PoolKind = Annotated[Pool | None, _option(workers.POOL)]
Processes = Annotated[int | None, _option(workers.PROCESSES)]
Queues = Annotated[str | None, _option(workers.QUEUES)]
