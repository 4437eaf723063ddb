"""What a worker is told on its command line, and passes on to its processes."""

import argparse
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from shared.settings import Settings
from shared.worker_names import check_name, numbered


class Pool(StrEnum):
    """Where runs are executed."""

    THREADS = "threads"  # of the worker process
    PREFORK = "prefork"  # in child processes of it


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """What a supervisor tells one of its processes."""

    name: str
    pool: Pool
    concurrency: int
    queues: str  # separated by commas
    holder: uuid.UUID  # of the name: whoever starts processes under it, one after the other
    lifeline: int | None = None  # the descriptor of its end

    def arguments(self) -> list[str]:
        """The options as a command line, which `parse` reads."""
        line = [] if self.lifeline is None else [f"--lifeline={self.lifeline}"]
        return [
            f"--name={self.name}",
            f"--pool={self.pool}",
            f"--concurrency={self.concurrency}",
            f"--queues={self.queues}",
            f"--holder={self.holder}",
            *line,
        ]

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Self:
        parser = argparse.ArgumentParser(prog="python -m worker.process")
        parser.add_argument("--name", required=True)
        parser.add_argument("--pool", type=Pool, required=True)
        parser.add_argument("--concurrency", type=int, required=True)
        parser.add_argument("--queues", required=True)
        parser.add_argument("--holder", type=uuid.UUID, default=uuid.uuid4())
        parser.add_argument("--lifeline", type=int)
        return cls(**vars(parser.parse_args(arguments)))


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """How many processes a worker has, and what each is told."""

    name: str  # of its one process; of several, with a number added to each
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
        parser = argparse.ArgumentParser(prog="python -m worker", description="Run worker processes.")
        parser.add_argument("--processes", type=_count, default=1, help="worker processes (%(default)s)")
        parser.add_argument("--concurrency", type=_count, help="runs that one process executes at once")
        parser.add_argument("--pool", type=Pool, default=Pool.THREADS, choices=list(Pool))
        parser.add_argument("--queues", default=settings.queues, help="queues to take from (%(default)s)")
        parser.add_argument(
            "--name", type=_name, default=settings.worker_name, help="what it is called (%(default)s)"
        )
        given = parser.parse_args(arguments)
        if given.concurrency is None:
            is_cheap = given.pool is Pool.THREADS
            given.concurrency = settings.concurrency if is_cheap else os.cpu_count() or 1
        return cls(**vars(given))


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
