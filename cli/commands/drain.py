"""`runyard drain`: take workers out of service, through their Redis."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from celery import Celery

from cli.console import notice, output, output_line
from cli.exit_codes import EXIT_USAGE
from cli.listing import counted
from cli.local.dev_file import DATA_DIR, find_dev_file
from cli.progress import Advance, progress
from shared.celery_app import make_celery
from shared.dispatch.dispatcher import SEND_ERRORS, WHO, ask
from shared.errors import RunyardError
from shared.settings import Settings, is_given
from shared.terminal import visible_line

app = typer.Typer(add_completion=False)

ANSWER_TIMEOUT: Final = 2.0  # seconds of silence; a worker answers between two messages
POLL_INTERVAL: Final = 0.2  # seconds


class NoRedisKnownError(RunyardError):
    """Set RUNYARD_REDIS_URL, or start `runyard dev`."""


class RedisRefusedError(RunyardError):
    """Redis cannot be reached, or refuses a command."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"Redis: {' '.join(str(error).split())}")


class NoWorkerError(RunyardError):
    """No worker answers."""


class UnknownWorkerError(RunyardError):
    """A named worker does not answer."""

    def __init__(self, unknown: Collection[str], known: Collection[str]) -> None:
        answering = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"No worker answers to {', '.join(sorted(unknown))}; nothing was drained. Workers that answer:"
            f" {answering}."
        )


class AmbiguousWorkerError(RunyardError):
    """Several workers answer to one name."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(
            f"Several workers answer to {', '.join(sorted(names))}; nothing was drained. "
            "Give each its own name, by --name or RUNYARD_WORKER_NAME, or stop one by a signal."
        )


class NotAcknowledgedError(RunyardError):
    """A worker did not acknowledge the command to drain."""

    def __init__(self, silent: Collection[str]) -> None:
        super().__init__(f"Not acknowledged: {', '.join(sorted(silent))}.")


class StillThereError(RunyardError):
    """A draining worker still answers."""

    def __init__(self, names: Collection[str], seconds: float) -> None:
        super().__init__(f"Still there after {seconds:g} s: {', '.join(sorted(names))}.")


class Workers:
    """The worker processes on one Redis."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def answering(self, names: Sequence[str] | None = None, *, limit: int | None = None) -> Counter[str]:
        """Ping workers, all or the named ones; return the number of answers per name.

        If nobody answers, it asks once more: Redis keeps no ping for a worker that is just connecting.

        Args:
            limit: the number of answers to wait for; without it, one per name.

        Raises:
            RedisRefusedError: Redis did not take the command.
        """
        answers = self._ask("ping", names, limit=limit) or self._ask("ping", names, limit=limit)
        return Counter(name for name, said in answers if "ok" in said)

    def drain(self, names: Sequence[str] | None) -> Mapping[str, str | None]:
        """Tell the named workers to drain, or all.

        Returns:
            The workers that acknowledged, each with its process; None for one of an earlier release.

        Raises:
            RedisRefusedError: Redis did not take the command.
            UnknownWorkerError: a named worker does not answer; none was told to drain.
            AmbiguousWorkerError: several workers answer to a name; none was told to drain.
            NoWorkerError: no worker answers.
            NotAcknowledgedError: a worker answered the ping, but not the command.
        """
        # One answer more than names shows a name that is not unique; without a limit, Celery stops before it.
        there = self.answering(names, limit=len(names) + 1 if names else None)
        if names and frozenset(names) - there.keys():  # one may just have connected
            known = self.answering()
            if unknown := frozenset(names) - known.keys():
                raise UnknownWorkerError(unknown, known.keys())
            there = Counter({name: known[name] for name in names})
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

    def wait_gone(
        self, told: Mapping[str, str | None], seconds: float, *, advance: Advance = lambda _: None
    ) -> None:
        """Wait until no worker that `drain` told still answers. Its successor may have the same name.

        Raises:
            RedisRefusedError: Redis did not take the command.
            StillThereError: a worker still answers after `seconds`.
        """
        seen_at = time.monotonic()
        deadline = seen_at + seconds
        known = sorted(name for name, who in told.items() if who is not None)
        unknown = sorted(told.keys() - set(known))
        while True:
            answers = self._ask(WHO, known) if known else []
            left = {name for name, said in answers if said.get("ok") == told[name]}
            left |= self.answering(unknown).keys() if unknown else set()
            if not left:
                return
            if time.monotonic() >= deadline:
                raise StillThereError(left, seconds)
            time.sleep(POLL_INTERVAL)
            advance(time.monotonic() - seen_at)
            seen_at = time.monotonic()

    def _ask(
        self, command: str, names: Sequence[str] | None, *, limit: int | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        try:
            answers = ask(self._celery, command, names=names, timeout=ANSWER_TIMEOUT, limit=limit)
        except SEND_ERRORS as error:
            raise RedisRefusedError(error) from error
        return [(name, said) for name, said in answers if isinstance(said, dict)]


@app.command()
def drain(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKER]...", help="Names of workers, as in Flower.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Drain every worker.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Wait until they have exited.", show_default="do not wait"
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="The directory of `runyard dev`, if it runs Redis.")
    ] = DATA_DIR,
) -> None:
    """Drain workers: they take no new run, finish or give back the ones they have, and exit.

    One process of a worker is enough: its other processes drain after it.
    Without a name or --all, the command only lists the workers that answer.
    """
    if names and every:
        raise typer.BadParameter("Give the names of workers, or --all.")
    with make_celery(_settings(data_dir)) as celery:
        workers = Workers(celery)
        if not names and not every:
            _list(workers)
            raise typer.Exit(EXIT_USAGE)
        acknowledged = workers.drain(None if every else sorted(set(names or ())))
        if wait is not None:
            with progress("Waiting for the workers", total=wait) as advance:
                workers.wait_gone(acknowledged, wait, advance=advance)
            notice(f"{counted(len(acknowledged), 'worker')} gone.")


def _list(workers: Workers) -> None:
    there = workers.answering()
    if not there:
        raise NoWorkerError
    for name in sorted(there):
        output_line(name)
    notice("Nothing was drained. Choose: runyard drain WORKER..., or runyard drain --all.")


def _settings(data_dir: Path) -> Settings:
    """Settings with the address of Redis; the others do not matter here."""
    urls = {} if is_given("database_url") else {"database_url": ""}
    if not is_given("redis_url"):
        known = find_dev_file(data_dir)
        if known is None:
            raise NoRedisKnownError
        urls["redis_url"] = known.redis_url
    return Settings.model_validate(urls)
