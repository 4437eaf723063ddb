"""The command lines of a worker's supervisor and of its processes."""

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from shared import workers
from shared.settings import Settings
from shared.workers import Pool, WorkerOption, numbered


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """The options of one process, from its supervisor."""

    name: str
    pool: Pool
    concurrency: int
    queues: str  # separated by commas
    holder: uuid.UUID  # of the name: the supervisor, which gives it to one process after the other
    supervisor_link: int | None = None  # the descriptor of the process's end
    metrics: Path | None = None  # the directory for its metrics

    def arguments(self) -> list[str]:
        """Return the command line that `parse` reads."""
        link = [] if self.supervisor_link is None else [f"--supervisor-link={self.supervisor_link}"]
        options = workers.command_line(
            name=self.name, pool=self.pool, concurrency=self.concurrency, queues=self.queues
        )
        metrics = [] if self.metrics is None else [f"--metrics={self.metrics}"]
        return [*options, f"--holder={self.holder}", *link, *metrics]

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Self:
        parser = argparse.ArgumentParser(prog="python -m worker.process.process")
        for name in ("name", "pool", "concurrency", "queues"):
            _add(parser, workers.OPTIONS[name], required=True)
        parser.add_argument("--holder", type=uuid.UUID, default=uuid.uuid4())
        parser.add_argument("--supervisor-link", type=int)
        parser.add_argument("--metrics", type=Path)
        return cls(**vars(parser.parse_args(arguments)))


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """The options of a worker, and those of each of its processes."""

    name: str  # of the one process; several have it with a number
    processes: int
    pool: Pool
    concurrency: int
    queues: str

    def of_process(self, number: int, holder: uuid.UUID) -> ProcessOptions:
        is_alone = self.processes == 1 and number == 1
        return ProcessOptions(
            name=self.name if is_alone else numbered(self.name, number, mark="-"),
            pool=self.pool,
            concurrency=self.concurrency,
            queues=self.queues,
            holder=holder,
        )

    @classmethod
    def parse(cls, settings: Settings, arguments: Sequence[str] | None = None) -> Self:
        defaults = {
            "name": settings.worker_name,
            "pool": Pool.THREADS,
            "queues": settings.worker_queues,
        }
        parser = argparse.ArgumentParser(prog="python -m worker", description="Run worker processes.")
        for name, option in workers.OPTIONS.items():
            _add(parser, option, default=defaults.get(name))
        given = parser.parse_args(arguments)
        has_threads = given.pool is Pool.THREADS
        processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        if given.processes is None:
            given.processes = processors if has_threads else 1
        if given.concurrency is None:
            given.concurrency = settings.concurrency if has_threads else processors
        return cls(**vars(given))


def _add(parser: argparse.ArgumentParser, option: WorkerOption, **more: Any) -> None:
    def parse(text: str) -> Any:
        try:
            return option.parse(text)
        except ValueError as error:  # argparse shows no other error's sentence
            raise argparse.ArgumentTypeError(str(error)) from error

    description = f"{option.help} (default: {option.default})"
    parser.add_argument(option.flag, type=parse, metavar=option.metavar, help=description, **more)
