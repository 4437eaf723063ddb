"""`runyard run`, `watch` and `cancel`: what a caller does, from a terminal."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer

from shared.cli import connection, timeline
from shared.cli.client import Client, Event
from shared.cli.console import notice, output, output_line
from shared.cli.dev_file import DATA_DIR
from shared.cli.ids import RunId, read_id
from shared.cli.invocation import runyard
from shared.runs.lifecycle import RunKind, RunStatus

EXIT_CODES: Final = MappingProxyType(
    {
        RunStatus.SUCCEEDED: 0,
        RunStatus.FAILED: 3,
        RunStatus.ERROR: 4,
        RunStatus.CANCELLED: 5,
    }
)
INTERRUPTED: Final = 130  # as shells have it

EPILOG: Final = (
    "Exit code: 0 SUCCEEDED, 3 FAILED (the assistant), 4 ERROR (the platform), 5 CANCELLED;"
    " 1 if it could not be told, 2 for a wrong command line, 130 after Ctrl-C, which leaves the run going."
)

run_app = typer.Typer(add_completion=False)
watch_app = typer.Typer(add_completion=False)
cancel_app = typer.Typer(add_completion=False)


class CancellableStatus(StrEnum):
    """The statuses of runs that go on, as a choice on the command line."""

    QUEUED = RunStatus.QUEUED
    STARTING = RunStatus.STARTING
    RUNNING = RunStatus.RUNNING


@run_app.command(epilog=EPILOG)
def run(  # noqa: PLR0913  # each is an option
    text: Annotated[str, typer.Argument(help="What to say to the assistant; `-` reads standard input.")],
    *,
    assistant: Annotated[str, typer.Option(help="The assistant's name; made if there is none.")] = "default",
    model: Annotated[str | None, typer.Option(help="The model, as provider/model.")] = None,
    max_duration: Annotated[float | None, typer.Option(help="Seconds it may be RUNNING.")] = None,
    queue_ttl: Annotated[float | None, typer.Option(help="Seconds it may be QUEUED.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often it may be begun.")] = None,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """Execute one run and print the answer as it comes."""
    spoken = sys.stdin.read() if text == "-" else text
    with connection.connect(api_url, api_key, data_dir) as client:
        run_id = client.create_run(
            client.ensure_assistant(assistant),
            spoken,
            model=model,
            max_duration=max_duration,
            queue_ttl=queue_ttl,
            max_attempts=max_attempts,
        )
        with _leaving_it_going(run_id):
            status = _print_answer(client, run_id)
    raise typer.Exit(EXIT_CODES[status])


@watch_app.command(epilog=EPILOG)
def watch(
    run_id: RunId,
    *,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """Print the events of a run, from its first to its last, as they happen."""
    with connection.connect(api_url, api_key, data_dir) as client, _leaving_it_going(run_id):
        status = print_timeline(client, run_id)
    raise typer.Exit(EXIT_CODES[status])


@cancel_app.command()
def cancel(
    run_id: Annotated[
        str | None,
        typer.Argument(help="The id of the run; none with --all.", parser=read_id),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Cancel every run that has not ended.")] = False,
    status: Annotated[
        list[CancellableStatus] | None,
        typer.Option(help="With --all: only runs in this status; may be repeated."),
    ] = None,
    assistant: Annotated[
        str | None,
        typer.Option(
            help="With --all: only runs of the assistant with this id.", parser=read_id, metavar="ID"
        ),
    ] = None,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """End a run, or with --all every run of the organization; one that has ended stays as it is."""
    if (run_id is None) is not every:
        raise typer.BadParameter("Give the id of a run, or --all.")
    if not every and (status or assistant):
        raise typer.BadParameter("--status and --assistant need --all.")
    with connection.connect(api_url, api_key, data_dir) as client:
        if run_id is not None:
            _cancel_one(client, run_id)
        else:
            _cancel_all(client, assistant, status)


def _cancel_one(client: Client, run_id: str) -> None:
    answer = client.cancel_run(run_id)
    detail = answer.get("status_detail") or {}
    output_line(f"{answer['status']}  {detail.get('message', '')}".rstrip())


def _cancel_all(client: Client, assistant: str | None, statuses: list[CancellableStatus] | None) -> None:
    """Print the id of each run as it is cancelled, for the next program, and their number, for people."""
    count = 0
    for kind, subject_id in _subjects(client, assistant):
        for run_id in client.cancel_runs(subject_id, statuses, kind=kind):
            output(run_id)
            count += 1
    notice(f"{count} runs cancelled.")


def _subjects(client: Client, assistant: str | None) -> Iterator[tuple[RunKind, str]]:
    """That assistant; or all of them, which call structures, and then these."""
    if assistant is not None:
        yield RunKind.ASSISTANT, assistant
        return
    for one in client.assistants():
        yield RunKind.ASSISTANT, one["assistant_id"]
    for one in client.structures():
        yield RunKind.STRUCTURE, one["structure_id"]


def print_timeline(client: Client, run_id: str) -> RunStatus:
    """Print a run's events as they happen; return how it ended."""
    since = datetime.fromisoformat(client.get_run(run_id)["created_at"])
    last: Event | None = None
    for event in client.follow(run_id):
        output_line(timeline.line_of(event, since=since))
        last = event
    return _ending(last)


def _print_answer(client: Client, run_id: str) -> RunStatus:
    answer = _GrowingAnswer()
    last: Event | None = None
    for event in client.follow(run_id):
        last = event
        match event:
            case Event(type="AssistantRunRunning", payload=payload):
                answer.begin(payload.get("attempt"))
            case Event(
                type="TextChunkEvent", payload={"type": "RepeatedTextChunkEvent", "token": str(token)}
            ):
                answer.repeat(token)
            case Event(type="TextChunkEvent", payload={"token": str(token)}):
                answer.go_on(token)
    run = client.get_run(run_id)
    _print_rest(run, answer.printed)
    return _ending(last)


class _GrowingAnswer:
    """An answer as it is printed, no part of it twice, though another attempt say it again."""

    def __init__(self) -> None:
        self.printed = ""  # since the last line that was ended
        self._said = ""  # by this attempt

    def begin(self, attempt: object) -> None:
        """Another attempt begins; that is told if there is something it may say again."""
        self._said = ""
        if self.printed:
            notice(f"\nBegun again, as attempt {attempt}.")

    def repeat(self, token: str) -> None:
        """It says what is printed already."""
        self._said += token

    def go_on(self, token: str) -> None:
        """It says something new; where it does not go on from what is printed, that is given up."""
        if self._said != self.printed:
            output("\n" + self._said, end="")
        output(token, end="")
        self.printed = self._said = self._said + token


def _print_rest(run: dict[str, Any], streamed: str) -> None:
    """Print what the chunks have not said: the rest of the line, or all of it, and a bad ending."""
    answer = str((run.get("output") or {}).get("value", ""))
    if streamed:
        output("")
    if answer and answer.strip() != streamed.strip():
        output(answer)
    if run["status"] != RunStatus.SUCCEEDED:
        notice(reason_of(run))


def reason_of(run: dict[str, Any]) -> str:
    """Where a run is and why, in a line."""
    detail = run.get("status_detail") or {}
    return f"{run['status']}: {detail.get('message', detail.get('reason', 'no reason given'))}"


def _ending(last: Event | None) -> RunStatus:
    return RunStatus(last.payload["status"] if last else RunStatus.ERROR)


@contextmanager
def _leaving_it_going(run_id: str) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        notice("")
        notice(f"The run goes on. Watch it: {runyard(f'watch {run_id}')}")
        notice(f"           Or cancel it: {runyard(f'cancel {run_id}')}")
        raise typer.Exit(INTERRUPTED) from None
