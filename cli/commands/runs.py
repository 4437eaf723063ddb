"""`runyard run`, `watch` and `cancel`: a caller's runs, from a terminal."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Final

import typer

from cli import connection, timeline
from cli.choices import choice
from cli.client import ApiRefusedError, Client, Event
from cli.console import notice, output, output_line
from cli.exit_codes import EXIT_CODES, EXIT_INTERRUPTED
from cli.ids import RunId, read_id
from cli.listing import counted
from cli.local.dev_file import DATA_DIR
from shared.lifecycle import RunKind, RunStatus
from shared.processes.invocation import runyard

EPILOG: Final = (
    "Exit codes: 0 SUCCEEDED, 3 FAILED (the assistant's error), 4 ERROR (the platform's), 5 CANCELLED;"
    " 1 no answer from the API, 2 wrong command line, 130 after Ctrl-C (the run goes on)."
)

run_app = typer.Typer(add_completion=False)
watch_app = typer.Typer(add_completion=False)
cancel_app = typer.Typer(add_completion=False)


class CancellableStatus(StrEnum):
    """The statuses of unfinished runs, as a choice on the command line."""

    QUEUED = RunStatus.QUEUED
    STARTING = RunStatus.STARTING
    RUNNING = RunStatus.RUNNING


@run_app.command(epilog=EPILOG)
def run(  # noqa: PLR0913  # each is an option
    text: Annotated[
        str, typer.Argument(help="The input of the run; `-` reads standard input.", metavar="TEXT")
    ],
    *,
    assistant: Annotated[
        str, typer.Option(help="The assistant's name. It is created if missing.")
    ] = "default",
    model: Annotated[
        str | None, typer.Option(help="The model, as provider/model.", show_default="the assistant's")
    ] = None,
    max_duration: Annotated[float | None, typer.Option(help="Seconds that the run may be RUNNING.")] = None,
    queue_ttl: Annotated[float | None, typer.Option(help="Seconds that the run may be QUEUED.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Attempts that the run may have.")] = None,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """Start a run and stream its answer.

    The answer goes to standard output, the id of the run to standard error.
    `runyard watch RUN_ID` prints its events, `runyard cancel RUN_ID` cancels it.
    Ctrl-C stops the stream and leaves the run going.
    """
    input_text = sys.stdin.read() if text == "-" else text
    with connection.connect(api_url, api_key, data_dir) as client:
        run_id = client.create_run(
            client.ensure_assistant(assistant),
            input_text,
            model=model,
            max_duration=max_duration,
            queue_ttl=queue_ttl,
            max_attempts=max_attempts,
        )
        notice(f"Run {run_id}")
        with _run_survives_interrupt(run_id):
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
    """Print the events of a run, from the first to the last, as they happen.

    A line holds the event's number, the time since the creation of the run, the type and the content.
    """
    with connection.connect(api_url, api_key, data_dir) as client, _run_survives_interrupt(run_id):
        status = print_timeline(client, run_id)
    raise typer.Exit(EXIT_CODES[status])


@cancel_app.command()
def cancel(
    run_id: Annotated[
        str | None,
        typer.Argument(help="The id of the run. Omit it with --all.", parser=read_id, metavar="RUN_ID"),
    ] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Cancel every unfinished run of the organization.")
    ] = False,
    status: Annotated[
        list[CancellableStatus] | None,
        typer.Option(
            help="With --all: only runs in this status. May be repeated.", **choice(CancellableStatus)
        ),
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
    """Cancel a run, or with --all every unfinished run of the organization.

    Runs of assistants and of structures are cancelled alike. A run that has ended stays as it is.
    """
    if (run_id is None) is not every:
        raise typer.BadParameter("Give the id of a run, or --all.")
    if not every and (status or assistant):
        raise typer.BadParameter("--status and --assistant need --all.")
    with connection.connect(api_url, api_key, data_dir) as client:
        if run_id is not None:
            answer = client.cancel_run(run_id)
            detail = answer.get("status_detail") or {}
            output_line(f"{answer['status']}  {detail.get('message', '')}".rstrip())
        else:
            _cancel_all(client, assistant, status)


def _cancel_all(client: Client, assistant: str | None, statuses: list[CancellableStatus] | None) -> None:
    """Print the id of each cancelled run, and to standard error their number."""
    count = 0
    for run_id in _cancelled(client, assistant, statuses):
        output(run_id)
        count += 1
    notice(f"{counted(count, 'run')} cancelled.")


def _cancelled(
    client: Client, assistant: str | None, statuses: list[CancellableStatus] | None
) -> Iterator[str]:
    """Cancel runs; yield their ids. What somebody deletes meanwhile stops nothing.

    Most runs are cancelled many at a time; then, one by one, those whose assistant or structure is deleted.
    """
    if assistant is not None:
        yield from client.cancel_runs(assistant, statuses, kind=RunKind.ASSISTANT)
        return
    for kind, subject_id in _subjects(client):
        with _may_be_gone():
            yield from client.cancel_runs(subject_id, statuses, kind=kind)
    for kind in RunKind:
        for run_id in client.active_runs(statuses, kind=kind):
            with _may_be_gone():
                if client.cancel_run(run_id)["status"] == RunStatus.CANCELLED:
                    yield run_id


@contextmanager
def _may_be_gone() -> Generator[None]:
    """End the block where the API says that there is no such thing, or no longer."""
    try:
        yield
    except ApiRefusedError as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise


def _subjects(client: Client) -> Iterator[tuple[RunKind, str]]:
    """Yield all assistants and then all structures: assistants may call structures."""
    for one in client.assistants():
        yield RunKind.ASSISTANT, one["assistant_id"]
    for one in client.structures():
        yield RunKind.STRUCTURE, one["structure_id"]


def print_timeline(client: Client, run_id: str) -> RunStatus:
    """Print a run's events as they happen; return its final status."""
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

    # The rest: an output that was not streamed, and the reason of a run that did not succeed.
    run = client.get_ended_run(run_id)
    whole = str((run.get("output") or {}).get("value", ""))
    if answer.printed:
        output("")
    if whole and whole.strip() != answer.printed.strip():
        output(whole)
    if run["status"] != RunStatus.SUCCEEDED:
        notice(reason_of(run))
    return _ending(last)


class _GrowingAnswer:
    """The answer on the terminal: text that a further attempt repeats is not printed again."""

    def __init__(self) -> None:
        self.printed = ""  # since the last new line of ours
        self._received = ""  # of this attempt

    def begin(self, attempt: object) -> None:
        """Start an attempt; a notice says so if part of an answer is printed already."""
        self._received = ""
        if self.printed:
            notice(f"\nStarted again, as attempt {attempt}.")

    def repeat(self, token: str) -> None:
        """Take a token that an earlier attempt has printed."""
        self._received += token

    def go_on(self, token: str) -> None:
        """Print a new token; if the attempts differ, print this one's text from its start."""
        if self._received != self.printed:
            output("\n" + self._received, end="")
        output(token, end="")
        self.printed = self._received = self._received + token


def reason_of(run: dict[str, Any]) -> str:
    """A run's status and its reason, in one line."""
    detail = run.get("status_detail") or {}
    return f"{run['status']}: {detail.get('message', detail.get('reason', 'no reason given'))}"


def _ending(last: Event | None) -> RunStatus:
    return RunStatus(last.payload["status"] if last else RunStatus.ERROR)


@contextmanager
def _run_survives_interrupt(run_id: str) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        notice("")
        notice("The run goes on.")
        notice(f"Watch it:  {runyard(f'watch {run_id}')}")
        notice(f"Cancel it: {runyard(f'cancel {run_id}')}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
