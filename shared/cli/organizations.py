"""`runyard orgs`: organizations, which own everything."""

from typing import Annotated, Final

import typer

from shared.cli.console import notice, output
from shared.cli.database_access import DataDir, database_settings, one_session
from shared.cli.dev_file import DATA_DIR
from shared.cli.listing import AsJson, Yes, confirm, counted, print_list
from shared.organizations import administration, directory, service

COLUMNS: Final = ("organization_id", "name", "users", "created_at")

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def orgs() -> None:
    """Organizations, in the database."""


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
            for organization, users in directory.organizations(session)
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Create an organization and print its id; nobody belongs to it yet."""
    with one_session(database_settings(data_dir)) as session:
        organization = administration.create_organization(session, name, description=description)
    notice(f"The organization {name!r}:")
    output(str(organization.id))


@app.command()
def delete(
    organization: Annotated[str, typer.Argument(help="Its name or its id.")],
    *,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Delete an organization with everything it owns; refused while a run of it has not ended."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        found = directory.get_organization(session, organization)
        owns = directory.belongings(session, found.id)
    goods = ", ".join(
        [counted(owns.keys, "key"), counted(owns.assistants, "assistant"), counted(owns.runs, "run")]
    )
    confirm(f"Delete the organization {found.name!r} with all it owns: {goods}?", yes=yes)
    with one_session(settings) as session:
        service.erase(session, found.id)
    notice(f"Deleted the organization {found.name!r}.")
