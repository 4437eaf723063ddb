"""`runyard drain`: take workers out of service, from anywhere that reaches their Redis."""

import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from celery import Celery

from shared.celery_app import make_celery
from shared.cli.console import notice, output, output_line
from shared.cli.dev_file import DATA_DIR, find_dev_file
from shared.dispatch import SEND_ERRORS, WHO, ask
from shared.errors import RunyardError
from shared.settings import Settings
from shared.terminal import visible_line

app = typer.Typer(add_completion=False)

WRONG_COMMAND_LINE: Final = 2
PATIENCE: Final = 2.0  # seconds of silence; a worker answers between two messages
PAUSE: Final = 0.2  # seconds between two questions whether a worker is still there


class NoRedisKnownError(RunyardError):
    """Set RUNYARD_REDIS_URL, or start `runyard dev`."""


class RedisRefusedError(RunyardError):
    """Redis cannot be reached, or refuses what it is asked for."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"Redis: {' '.join(str(error).split())}")


class NoWorkerError(RunyardError):
    """No worker answers."""


class UnknownWorkerError(RunyardError):
    """A worker that was named does not answer."""

    def __init__(self, unknown: Collection[str], known: Collection[str]) -> None:
        there = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"No worker answers to {', '.join(sorted(unknown))}; nothing was drained. There are: {there}."
        )


class AmbiguousWorkerError(RunyardError):
    """Several workers answer to one name."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(
            f"Several workers answer to {', '.join(sorted(names))}; nothing was drained. "
            "Give each a name of its own, by --name or RUNYARD_WORKER_NAME, or stop one by a signal."
        )


class NotAcknowledgedError(RunyardError):
    """A worker was told to drain and did not say that it will."""

    def __init__(self, silent: Collection[str]) -> None:
        super().__init__(f"Not acknowledged: {', '.join(sorted(silent))}.")


class StillThereError(RunyardError):
    """A worker that drains still answers."""

    def __init__(self, names: Collection[str], seconds: float) -> None:
        super().__init__(f"Still there after {seconds:g} s: {', '.join(sorted(names))}.")


class Workers:
    """The worker processes that listen to one Redis."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def answering(self, names: Sequence[str] | None = None, *, limit: int | None = None) -> Counter[str]:
        """Who is there, of all or of those named, and how many are called so.

        Args:
            limit: answers that are enough; of those named, one each.

        Raises:
            RedisRefusedError: they could not be asked.
        """
        return Counter(name for name, said in self._ask("ping", names, limit=limit) if "ok" in said)

    def drain(self, names: Sequence[str] | None) -> Mapping[str, str | None]:
        """Have those named drain, or all.

        Returns:
            Who acknowledged, each with which process it is; None of one of an earlier release.

        Raises:
            RedisRefusedError: they could not be told.
            UnknownWorkerError: one of them does not answer; nobody was told.
            AmbiguousWorkerError: several answer to a name; nobody was told.
            NoWorkerError: there is nobody.
            NotAcknowledgedError: one of them answered before, but not to this.
        """
        # One answer more than there are names would be one too many; without a limit, Celery stops before it.
        there = self.answering(names, limit=len(names) + 1 if names else None)
        if unknown := frozenset(names or ()) - there.keys():
            raise UnknownWorkerError(unknown, self.answering().keys())
        if names and (alike := [name for name, count in there.items() if count > 1]):
            raise AmbiguousWorkerError(alike)
        if not there:
            raise NoWorkerError
        answers = self._ask("shutdown", sorted(there))
        acknowledged = {name: said.get(WHO) for name, said in answers if "ok" in said}
        for name in sorted(acknowledged):
            output(f"{visible_line(name)}\tdraining")
        if silent := there.keys() - acknowledged.keys():
            raise NotAcknowledgedError(silent)
        return acknowledged

    def wait_gone(self, told: Mapping[str, str | None], seconds: float) -> None:
        """Wait until none of those that `drain` has told is there; others may be by then, under their names.

        Raises:
            RedisRefusedError: they could not be asked.
            StillThereError: one of them still answers after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while left := self._still_there(told):
            if time.monotonic() >= deadline:
                raise StillThereError(left, seconds)
            time.sleep(PAUSE)

    def _still_there(self, told: Mapping[str, str | None]) -> frozenset[str]:
        known = sorted(name for name, who in told.items() if who is not None)
        unknown = sorted(told.keys() - set(known))
        answers = self._ask(WHO, known) if known else []
        same = {name for name, said in answers if said.get("ok") == told[name]}
        return frozenset(same) | (self.answering(unknown).keys() if unknown else frozenset())

    def _ask(
        self, command: str, names: Sequence[str] | None, *, limit: int | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        try:
            answers = ask(self._celery, command, names=names, timeout=PATIENCE, limit=limit)
        except SEND_ERRORS as error:
            raise RedisRefusedError(error) from error
        return [(name, said) for name, said in answers if isinstance(said, dict)]


@app.command()
def drain(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKER]...", help="Names as Flower shows them.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Drain every worker.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Wait until they are gone.", show_default="do not"),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="The directory of `runyard dev`, if that runs Redis.")
    ] = DATA_DIR,
) -> None:
    """Have workers take nothing new, see their runs out or give them back, and exit.

    One process is enough to name: the others of its worker follow when it is through.
    """
    if names and every:
        raise typer.BadParameter("Give the names of workers, or --all.")
    with make_celery(_settings(data_dir)) as celery:
        workers = Workers(celery)
        if not names and not every:
            _list(workers)
            raise typer.Exit(WRONG_COMMAND_LINE)
        acknowledged = workers.drain(None if every else sorted(set(names or ())))
        if wait is not None:
            workers.wait_gone(acknowledged, wait)


def _list(workers: Workers) -> None:
    there = workers.answering()
    if not there:
        raise NoWorkerError
    for name in sorted(there):
        output_line(name)
    notice("Nothing was drained. Say which: runyard drain WORKER..., or runyard drain --all.")


def _settings(data_dir: Path) -> Settings:
    """The settings, of which only the address of Redis matters here."""
    urls = {"database_url": os.environ.get("RUNYARD_DATABASE_URL", "")}
    if not os.environ.get("RUNYARD_REDIS_URL"):
        known = find_dev_file(data_dir)
        if known is None:
            raise NoRedisKnownError
        urls["redis_url"] = known.redis_url
    return Settings.model_validate(urls)
