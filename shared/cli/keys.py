"""`runyard keys`: API keys, of which only a new one's secret is ever shown."""

import uuid
from typing import Annotated, Final

import typer

from shared.cli.console import notice, output
from shared.cli.database_access import DataDir, database_settings, one_session
from shared.cli.dev_file import DATA_DIR
from shared.cli.first_key import EMAIL, ORGANIZATION
from shared.cli.joining import joined
from shared.cli.listing import AsJson, Yes, confirm, print_list
from shared.keys import service
from shared.models import Role
from shared.organizations import administration, directory

COLUMNS: Final = ("api_key_id", "name", "organization", "email", "created_at", "last_used")

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """API keys, in the database."""


@app.command(name="list")
def list_keys(
    *,
    organization: Annotated[
        str | None,
        typer.Option(
            "--organization", "--org", help="Only those in it; a name or an id.", show_default="all"
        ),
    ] = None,
    email: Annotated[
        str | None, typer.Option(help="Only this user's; or the user's id.", show_default="everybody's")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List API keys, newest first, without their secrets."""
    with one_session(database_settings(data_dir)) as session:
        owner = None if organization is None else directory.get_organization(session, organization).id
        user = None if email is None else directory.get_user(session, email).id
        items = [
            {
                "api_key_id": key.id,
                "name": key.name,
                "organization": name,
                "email": bearer,
                "created_at": key.created_at,
                "last_used": key.last_used_at,
            }
            for key, name, bearer in directory.keys(session, organization_id=owner, user_id=user)
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    *,
    organization: Annotated[
        str,
        typer.Option(
            "--organization", "--org", help="Where it acts; a name, made if there is none, or an id."
        ),
    ] = ORGANIZATION,
    email: Annotated[str, typer.Option(help="The user it acts as; made if there is none.")] = EMAIL,
    name: Annotated[str, typer.Option(help="What to call it.")] = "runyard keys create",
    role: Annotated[
        Role | None,
        typer.Option(help="What the user is to be in it.", show_default="owner, or as it is already"),
    ] = None,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an API key and print it; it is never to be seen again."""
    administration.check_name(name)
    with one_session(database_settings(data_dir)) as session:
        owner = joined(session, organization, yes=yes)
        if owner is None:
            owner = administration.create_organization(session, organization)
        user = administration.ensure_member(session, owner.id, email, role=role)
        key, secret = service.create_key(session, organization_id=owner.id, user_id=user.id, name=name)
    notice(f"A key of {user.email} in {owner.name!r}, with the id {key.id}:")
    output(secret)


@app.command()
def delete(
    api_key_id: Annotated[uuid.UUID, typer.Argument(help="Its id, as `runyard keys list` shows it.")],
    *,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Delete an API key; within seconds nobody accepts it any more."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        key, organization, email = directory.get_key(session, api_key_id)
    confirm(f"Delete the key {key.name!r} of {email} in {organization!r}?", yes=yes)
    with one_session(settings) as session:
        administration.delete_key(session, key.id)
    notice(f"Deleted the key {key.name!r}.")
