"""`runyard users`: users and their memberships in organizations."""

import uuid
from typing import Annotated, Final

import typer
from sqlalchemy.orm import Session

from cli.choices import choice
from cli.commands.joining import joined
from cli.console import notice, output
from cli.database_access import DataDir, database_settings
from cli.database_sessions import one_session
from cli.listing import AsJson, Yes, confirm, print_list
from cli.local.dev_file import DATA_DIR
from cli.local.first_key import ORGANIZATION
from cli.tables import Column, Fit
from shared.errors import OrganizationNotFoundError, UserNotFoundError
from shared.models import Role
from shared.organizations import admin, admin_queries

COLUMNS: Final = (
    Column("user_id"),
    Column("email", Fit.CUT),
    Column("organizations", Fit.CUT, rank=1),
    Column("created_at", rank=2),
)

OrganizationOrAll = Annotated[
    str | None,
    typer.Option("--organization", "--org", help="The organization (name or id).", show_default="all"),
]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def users() -> None:
    """List users, add them to organizations, remove them."""


@app.command(name="list")
def list_users(
    *,
    organization: OrganizationOrAll = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List users with their organizations."""
    with one_session(database_settings(data_dir)) as session:
        items = [
            {
                "user_id": user.id,
                "email": user.email,
                "organizations": organizations,
                "created_at": user.created_at,
            }
            for user, organizations in admin_queries.users(
                session, organization_id=_id(session, organization)
            )
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="The user's e-mail address.")],
    *,
    organization: Annotated[
        str, typer.Option("--organization", "--org", help="The organization (name or id).")
    ] = ORGANIZATION,
    role: Annotated[
        Role | None,
        typer.Option(
            help="The user's role in the organization.",
            show_default="owner; an existing role stays",
            **choice(Role),
        ),
    ] = None,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Add a user to an organization and print the user's id. A missing user is created."""
    with one_session(database_settings(data_dir)) as session:
        found = joined(session, organization, yes=yes)
        if found is None:
            raise OrganizationNotFoundError(organization)
        user = admin.ensure_member(session, found.id, email, role=role)
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
    """Remove a user from one organization or all, with the keys there. Resources of the user stay."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        found = admin_queries.get_user(session, user)
        organization_id = _id(session, organization)
    where = "all organizations" if organization is None else organization
    confirm(f"Remove {found.email} from {where}, and delete the keys there?", yes=yes)
    with one_session(settings) as session:
        left = admin.remove_member(session, found.id, organization_id=organization_id)
    if not left:
        raise UserNotFoundError(f"{found.email} in {where}")
    notice(f"{found.email} no longer belongs to {where}.")


def _id(session: Session, organization: str | None) -> uuid.UUID | None:
    return None if organization is None else admin_queries.get_organization(session, organization).id
