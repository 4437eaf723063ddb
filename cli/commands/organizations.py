"""`runyard orgs`: organizations, which own all other resources, and for how long they keep some."""

from datetime import timedelta
from typing import Annotated, Final

import typer

from cli.ages import DEFAULT, read_retention
from cli.console import notice, output
from cli.database_access import DataDir, database_settings
from cli.database_sessions import one_session
from cli.listing import AsJson, Yes, confirm, counted, print_list
from cli.local.dev_file import DATA_DIR
from cli.progress import progress
from cli.tables import Column, Fit
from shared.durations import format_duration
from shared.organizations import admin, admin_queries, service

COLUMNS: Final = (
    Column("organization_id"),
    Column("name", Fit.CUT),
    Column("users", rank=1),
    Column("created_at", rank=2),
)

RETENTION_COLUMNS: Final = (
    Column("organization_id"),
    Column("name", Fit.CUT),
    Column("runs"),
    Column("threads"),
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def orgs() -> None:
    """List, create and delete organizations, and set what they keep."""


@app.command(name="list")
def list_organizations(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """List all organizations."""
    with one_session(database_settings(data_dir)) as session:
        items = [
            {
                "organization_id": organization.id,
                "name": organization.name,
                "description": organization.description,
                "users": users,
                "created_at": organization.created_at,
            }
            for organization, users in admin_queries.organizations(session)
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name of the organization.")],
    *,
    description: Annotated[str, typer.Option(help="A description.")] = "",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Create an organization without members and print its id."""
    with one_session(database_settings(data_dir)) as session:
        organization = admin.create_organization(session, name, description=description)
    notice(f"The organization {name!r}:")
    output(str(organization.id))


@app.command()
def delete(
    organization: Annotated[str, typer.Argument(help="Name or id.")],
    *,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Delete an organization with everything that it owns. Refused while one of its runs is unfinished."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        found = admin_queries.get_organization(session, organization)
        owns = admin_queries.belongings(session, found.id)
    goods = ", ".join(
        [counted(owns.keys, "key"), counted(owns.assistants, "assistant"), counted(owns.runs, "run")]
    )
    confirm(f"Delete the organization {found.name!r} with all it owns: {goods}?", yes=yes)
    with progress("Deleting"), one_session(settings) as session:
        service.erase(session, found.id)
    notice(f"Deleted the organization {found.name!r}.")


@app.command()
def retention(
    organization: Annotated[str, typer.Argument(help="Name or id.")],
    *,
    runs: Annotated[
        timedelta | None,
        typer.Option(
            help="How long ended runs are kept: 30d, `keep` or `default`.",
            parser=read_retention,
            metavar="AGE",
        ),
    ] = None,
    threads: Annotated[
        timedelta | None,
        typer.Option(help="How long idle threads are kept.", parser=read_retention, metavar="AGE"),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Set for how long an organization keeps runs and threads, and show it.

    `keep` keeps them for ever, and `default` means RUNYARD_RETENTION_RUNS and RUNYARD_RETENTION_THREADS.
    """
    given = {"retention_runs": runs, "retention_threads": threads}
    fields = {name: None if age == DEFAULT else age for name, age in given.items() if age is not None}
    with one_session(database_settings(data_dir)) as session:
        found = admin_queries.get_organization(session, organization)
        changed = admin.set_retention(session, found.id, fields)
        item = {
            "organization_id": changed.id,
            "name": changed.name,
            "runs": _written(changed.retention_runs),
            "threads": _written(changed.retention_threads),
        }
    print_list([item], RETENTION_COLUMNS, as_json=as_json)


def _written(age: timedelta | None) -> str:
    if age is None:
        return "default"
    return format_duration(age) if age else "keep"
