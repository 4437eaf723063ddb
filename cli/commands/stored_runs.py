"""`runyard runs`: the runs of all organizations, read from the database."""

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
import typer

from cli.choices import choice
from cli.console import notice, output_json, output_line
from cli.database_access import DataDir, database_settings
from cli.durations import read_duration
from cli.ids import RunId, read_id
from cli.listing import AsJson, plain, print_list
from cli.local.dev_file import DATA_DIR
from cli.operation.reading import reader, reading
from cli.operation.runs import RunQuery, list_runs, show_run
from cli.progress import progress
from cli.tables import Column, Fit, Item
from shared.lifecycle import Reason, RunStatus
from shared.organizations import admin_queries

COLUMNS: Final = (
    Column("run_id"),
    Column("status"),
    Column("reason"),
    Column("organization", Fit.CUT, rank=2),
    Column("subject", Fit.CUT, rank=3),
    Column("worker", Fit.CUT, rank=4),
    Column("created_at", rank=1),
)

MAX_LIMIT: Final = 1000

EPILOG: Final = (
    "Exit codes: 0 printed, 1 the database cannot be read or there is no such thing, 2 wrong command line."
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def runs() -> None:
    """List the runs of all organizations, or show one."""


def _id(help_: str) -> Any:
    return typer.Option(help=help_, parser=read_id, metavar="ID")


def _age(help_: str) -> Any:
    return typer.Option(help=help_, parser=read_duration, metavar="DURATION")


@app.command(name="list", epilog=EPILOG)
def list_stored_runs(  # noqa: PLR0913  # each is a filter
    *,
    status: Annotated[
        list[RunStatus] | None,
        typer.Option(help="Only runs in this status. May be repeated.", **choice(RunStatus)),
    ] = None,
    assistant: Annotated[str | None, _id("Only runs of this assistant or structure.")] = None,
    organization: Annotated[
        str | None,
        typer.Option("--organization", "--org", help="Only runs of this organization (name or id)."),
    ] = None,
    reason: Annotated[
        Reason | None, typer.Option(help="Only runs whose status has this reason.", **choice(Reason))
    ] = None,
    newer_than: Annotated[
        timedelta | None, _age("Only runs that were created less than this ago: 90s, 15m, 2h, 7d.")
    ] = None,
    older_than: Annotated[timedelta | None, _age("Only runs that were created more than this ago.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="The most runs to list.")] = 50,
    after: Annotated[str | None, _id("Go on after this run, the last of the part before.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List the runs of all organizations, the newest first.

    If there are more, a remark on standard error names the option for the next part; in JSON it is `next`.
    """
    settings = database_settings(data_dir)
    with progress("Reading"), reader(settings) as engine, reading(engine) as session:
        found = None if organization is None else admin_queries.get_organization(session, organization).id
        part = list_runs(
            session,
            RunQuery(
                limit=limit,
                statuses=frozenset(status or ()),
                organization_id=found,
                subject_id=None if assistant is None else uuid.UUID(assistant),
                reason=reason,
                newer_than=newer_than,
                older_than=older_than,
                after=None if after is None else uuid.UUID(after),
            ),
        )
    following = part.rows[-1]["run_id"] if part.has_more else None
    if as_json:
        _print_json({"runs": part.rows, "next": following})
        return
    print_list([_row(run) for run in part.rows], COLUMNS, as_json=False)
    if following is not None:
        notice(f"There are more: add --after {following}")


@app.command(epilog=EPILOG)
def show(run_id: RunId, *, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show a run: its status and the reason, its times, its limits, its worker and its last events.

    Nothing is shown of what its caller sent, or of its answer.
    """
    with reader(database_settings(data_dir)) as engine, reading(engine) as session:
        facts = show_run(session, uuid.UUID(run_id))
    if as_json:
        _print_json(facts)
        return
    events = facts.pop("last_events")
    detail = facts.pop("status_detail") or {}
    more = {name: value for name, value in detail.items() if name not in facts}
    for name, value in {**facts, **more}.items():
        if value is not None:
            output_line(f"{name.replace('_', ' ')}: {_said(value)}")
    for event in events:
        output_line(f"event {event['seq']}: {plain(event['created_at'])} {event['type']}")


def _row(run: Item) -> Item:
    return {**run, "reason": run["reason"] or "", "worker": run["worker"] or ""}


def _said(value: Any) -> str:
    match value:
        case datetime() | timedelta():
            return plain(value)
        case dict() | list():
            return orjson.dumps(value).decode()
        case _:
            return str(value)


def _print_json(value: Any) -> None:
    output_json(value, default=plain, option=orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME)
