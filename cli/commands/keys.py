"""`runyard keys`: list, create and delete API keys. Only `create` shows a secret."""

import uuid
from typing import Annotated, Final

import typer

from cli.choices import choice
from cli.commands.joining import joined
from cli.console import notice, output
from cli.database_access import DataDir, database_settings
from cli.database_sessions import one_session
from cli.listing import AsJson, Yes, confirm, print_list
from cli.local.dev_file import DATA_DIR
from cli.local.first_key import EMAIL, ORGANIZATION
from cli.tables import Column, Fit
from shared.keys import service
from shared.models import KeyScope, Role
from shared.organizations import admin, admin_queries

COLUMNS: Final = (
    Column("api_key_id"),
    Column("name", Fit.CUT),
    Column("organization", Fit.CUT, rank=1),
    Column("email", Fit.CUT, rank=2),
    Column("scope"),
    Column("created_at", rank=4),
    Column("last_used", rank=3),
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """List, create and delete API keys."""


@app.command(name="list")
def list_keys(
    *,
    organization: Annotated[
        str | None,
        typer.Option(
            "--organization", "--org", help="Only keys of this organization (name or id).", show_default="all"
        ),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(help="Only keys of this user (e-mail address or id).", show_default="everybody's"),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List API keys, newest first, without their secrets."""
    with one_session(database_settings(data_dir)) as session:
        owner = None if organization is None else admin_queries.get_organization(session, organization).id
        user = None if email is None else admin_queries.get_user(session, email).id
        items = [
            {
                "api_key_id": key.id,
                "name": key.name,
                "organization": name,
                "email": bearer,
                "scope": key.scope,
                "created_at": key.created_at,
                "last_used": key.last_used_at,
            }
            for key, name, bearer in admin_queries.keys(session, organization_id=owner, user_id=user)
        ]
    print_list(items, COLUMNS, as_json=as_json)


@app.command()
def create(
    *,
    organization: Annotated[
        str,
        typer.Option(
            "--organization", "--org", help="The organization of the key, by name (created if missing) or id."
        ),
    ] = ORGANIZATION,
    email: Annotated[str, typer.Option(help="The user of the key. Created if missing.")] = EMAIL,
    name: Annotated[str, typer.Option(help="The name of the key.")] = "runyard keys create",
    role: Annotated[
        Role | None,
        typer.Option(
            help="The user's role in the organization.",
            show_default="owner; an existing role stays",
            **choice(Role),
        ),
    ] = None,
    scope: Annotated[
        KeyScope,
        typer.Option(
            help="What the key may do: read; also run and cancel; also change everything.", **choice(KeyScope)
        ),
    ] = KeyScope.ADMIN,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Create an API key and print its secret, which is never shown again."""
    admin.check_name(name)
    with one_session(database_settings(data_dir)) as session:
        owner = joined(session, organization, yes=yes)
        if owner is None:
            owner = admin.create_organization(session, organization)
        user = admin.ensure_member(session, owner.id, email, role=role)
        key, secret = service.create_key(
            session, organization_id=owner.id, user_id=user.id, name=name, scope=scope
        )
    notice(f"A key of {user.email} in {owner.name!r}, with the id {key.id}:")
    output(secret)


@app.command()
def delete(
    api_key_id: Annotated[uuid.UUID, typer.Argument(help="The id of the key, as in `runyard keys list`.")],
    *,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Delete an API key. Every API process refuses it within RUNYARD_KEY_CACHE_TTL (3 s)."""
    settings = database_settings(data_dir)
    with one_session(settings) as session:
        key, organization, email = admin_queries.get_key(session, api_key_id)
    confirm(f"Delete the key {key.name!r} of {email} in {organization!r}?", yes=yes)
    with one_session(settings) as session:
        admin.delete_key(session, key.id)
    notice(f"Deleted the key {key.name!r}.")
