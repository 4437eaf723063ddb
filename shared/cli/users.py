"""`runyard users`: users, and the organizations they belong to."""

import uuid
from typing import Annotated, Final

import typer
from sqlalchemy.orm import Session

from shared.cli.console import notice, output
from shared.cli.database_access import DataDir, database_settings, one_session
from shared.cli.dev_file import DATA_DIR
from shared.cli.first_key import ORGANIZATION
from shared.cli.joining import joined
from shared.cli.listing import AsJson, Yes, confirm, print_list
from shared.errors import OrganizationNotFoundError, UserNotFoundError
from shared.models import Role
from shared.organizations import administration, directory

COLUMNS: Final = ("user_id", "email", "organizations", "created_at")

OrganizationOrAll = Annotated[
    str | None,
    typer.Option("--organization", "--org", help="Its name or its id.", show_default="all of them"),
]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def users() -> None:
    """Users, in the database."""


@app.command(name="list")
def list_users(
    *,
    organization: OrganizationOrAll = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List users, and the organizations they belong to."""
    with one_session(database_settings(data_dir)) as session:
        items = [
            {
                "user_id": user.id,
                "email": user.email,
                "organizations": organizations,
                "created_at": user.created_at,
            }
            for user, organizations in directory.users(session, organization_id=_id(session, organization))
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="The user's e-mail address.")],
    *,
    organization: Annotated[
        str, typer.Option("--organization", "--org", help="Where the user is to belong; a name or an id.")
    ] = ORGANIZATION,
    role: Annotated[
        Role | None,
        typer.Option(help="What the user is to be in it.", show_default="owner, or as it is already"),
    ] = None,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a user a member of an organization and print the user's id; one who is there is kept."""
    with one_session(database_settings(data_dir)) as session:
        found = joined(session, organization, yes=yes)
        if found is None:
            raise OrganizationNotFoundError(organization)
        user = administration.ensure_member(session, found.id, email, role=role)
    notice(f"{user.email} in {found.name!r}:")
    output(str(user.id))


@app.command()
def delete(
    user: Annotated[str, typer.Argument(help="The user's e-mail address or id.")],
    *,
    organization: OrganizationOrAll = None,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Take a user, with the keys, out of an organization or out of all; what the user made stays."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        found = directory.get_user(session, user)
        organization_id = _id(session, organization)
    where = "all organizations" if organization is None else organization
    confirm(f"Take {found.email} out of {where}, and delete the keys there?", yes=yes)
    with one_session(settings) as session:
        left = administration.remove_member(session, found.id, organization_id=organization_id)
    if not left:
        raise UserNotFoundError(f"{found.email} in {where}")
    notice(f"{found.email} no longer belongs to {where}.")


def _id(session: Session, organization: str | None) -> uuid.UUID | None:
    return None if organization is None else directory.get_organization(session, organization).id
