"""`runyard purge`: delete by hand what is older than an age."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.orm import Session

from cli.ages import read_age
from cli.console import notice, output_json
from cli.database_access import DataDir, database_settings
from cli.database_sessions import readable_database_errors
from cli.listing import AsJson, Yes, confirm, counted, print_list
from cli.local.dev_file import DATA_DIR
from cli.tables import Column
from shared.db import Sessions, make_engine, make_sessions, unit_of_work
from shared.durations import format_duration
from shared.organizations import admin_queries
from shared.retention.policy import Policy
from shared.retention.purge import Purged, count
from shared.retention.purge import purge as batches
from shared.settings import Settings

EPILOG: Final = (
    "Exit codes: 0 done, or nothing to do; 1 the database refused, or nobody confirmed; 2 wrong command line."
)

COLUMNS: Final = (Column("what"), Column("found"), Column("deleted"))

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def purge(
    *,
    older_than: Annotated[
        timedelta,
        typer.Option(
            help="Delete runs that ended longer ago than this, such as 30d.", parser=read_age, metavar="AGE"
        ),
    ],
    threads: Annotated[
        bool, typer.Option("--threads", help="Also delete threads that have been idle for so long.")
    ] = False,
    organization: Annotated[
        str | None,
        typer.Option("--organization", "--org", help="The organization (name or id).", show_default="all"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Delete what ended long ago: runs with their events and logs, and what nothing refers to.

    It counts first, then asks. Active runs and the runs they called are left alone. An organization that
    keeps its runs for longer (`runyard orgs retention`) keeps them, unless it is named.
    """
    with _sessions_of(database_settings(data_dir)) as sessions:
        with unit_of_work(sessions) as session:
            policy = _policy(session, older_than, organization, has_threads=threads)
            found = count(session, policy)
        purged = Purged()
        if found.things and not dry_run:
            where = "all organizations" if organization is None else repr(organization)
            goods = f"{counted(found.runs, 'run')} and {counted(found.threads, 'thread')}"
            confirm(f"Delete {goods} older than {format_duration(older_than)} of {where}?", yes=yes)
            purged = _purge(sessions, policy, found)
    _print(found, purged, is_dry=dry_run, as_json=as_json)


def _policy(session: Session, age: timedelta, organization: str | None, *, has_threads: bool) -> Policy:
    named = None if organization is None else admin_queries.get_organization(session, organization).id
    return Policy(age, age if has_threads else None, is_order=True, organization_id=named)


def _purge(sessions: Sessions, policy: Policy, found: Purged) -> Purged:
    """Do batch after batch, with a bar on a terminal; what is deleted stays so if it is interrupted."""
    total = Purged()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=found.things)
        for name, done in batches(sessions, policy):
            total += done
            bars.update(bar, description=name, advance=done.things)
    return total


def _print(found: Purged, purged: Purged, *, is_dry: bool, as_json: bool) -> None:
    if as_json:
        answer = {"dry_run": is_dry, "found": found.counts(), "deleted": purged.counts()}
        output_json(answer, option=orjson.OPT_INDENT_2)
        return
    deleted = purged.counts()
    items = [
        {"what": name.replace("_", " "), "found": number, "deleted": deleted[name]}
        for name, number in found.counts().items()
    ]
    print_list(items, COLUMNS, as_json=False)
    if is_dry:
        notice("Nothing was deleted (--dry-run).")


@contextmanager
def _sessions_of(settings: Settings) -> Generator[Sessions]:
    """Sessions on one connection, and readable errors."""
    engine = make_engine(settings, pool_size=1)
    try:
        with readable_database_errors():
            yield make_sessions(engine)
    finally:
        engine.dispose()
