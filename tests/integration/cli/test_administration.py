"""`runyard orgs`, `users` and `keys`, on a real database."""

import threading
import uuid

import orjson
import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from cli import listing, main
from cli.commands import joining
from cli.listing import NotConfirmedError
from cli.local.first_key import ORGANIZATION, ensure_first_key
from shared.assistants.runs import RunRequest, submit
from shared.db import unit_of_work
from shared.errors import RunyardError
from shared.keys import service as keys
from shared.lifecycle import TERMINAL, RunStatus
from shared.models import ApiKey, Membership, Organization, Role, Run, User
from shared.organizations import service as organizations


@pytest.fixture
def runyard(committed_settings):
    """Call the command line on the test's own database; what it refuses is raised."""
    url = committed_settings.database_url.get_secret_value()
    runner = CliRunner(env={"RUNYARD_DATABASE_URL": url})

    def runyard(*arguments, answer=None):
        result = runner.invoke(main.app, list(arguments), input=answer)
        if isinstance(result.exception, RunyardError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    return runyard


@pytest.fixture
def count(committed_sessions):
    def count(table, *conditions):
        with committed_sessions() as session:
            return session.scalar(select(func.count()).select_from(table).where(*conditions))

    return count


def listed(runyard, resource, *options):
    return orjson.loads(runyard(resource, "list", "--json", *options))


def test_an_organization_is_created_listed_and_deleted_by_name(runyard):
    organization_id = runyard("orgs", "create", "Bees")
    assert runyard("orgs", "list").split("\t")[:3] == [organization_id, "Bees", "0"]
    runyard("orgs", "delete", "Bees", "--yes")
    assert runyard("orgs", "list") == ""


def test_an_organization_can_be_meant_by_its_id(runyard):
    organization_id = runyard("orgs", "create", "Bees", "--description", "They hum.")
    assert listed(runyard, "orgs")[0]["description"] == "They hum."
    runyard("orgs", "delete", organization_id, "--yes")
    assert listed(runyard, "orgs") == []


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x1b[31mred"])
def test_a_name_that_makes_no_sense_is_refused(runyard, name):
    with pytest.raises(RunyardError, match="A name has 1 to 200 characters"):
        runyard("orgs", "create", name)


def test_a_second_organization_of_a_name_is_refused(runyard):
    runyard("orgs", "create", "Bees")
    with pytest.raises(RunyardError, match="named 'Bees' already"):
        runyard("orgs", "create", "Bees")


def test_a_name_that_several_have_is_no_answer(runyard, committed_sessions):
    with unit_of_work(committed_sessions) as session:
        session.add_all([Organization(name="Bees"), Organization(name="Bees")])
    with pytest.raises(RunyardError, match="give the id"):
        runyard("orgs", "delete", "Bees", "--yes")


@pytest.mark.parametrize("unknown", ["Wasps", "5760f497-0c0f-4331-b574-682461c168aa", "\udc80", "Bee%"])
def test_what_is_not_there_is_not_deleted(runyard, unknown):
    runyard("orgs", "create", "Bees")
    for arguments in (["orgs", "delete", unknown], ["users", "delete", unknown]):
        with pytest.raises(RunyardError, match="There is no such"):
            runyard(*arguments, "--yes")
    assert len(listed(runyard, "orgs")) == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_deleted_without_a_yes(runyard, answer):
    runyard("orgs", "create", "Bees")
    runyard("keys", "create", "--org", "Bees")
    key_id = listed(runyard, "keys")[0]["api_key_id"]
    for arguments in (["orgs", "delete", "Bees"], ["users", "delete", "operator@localhost"]):
        with pytest.raises(RunyardError, match="Nothing was changed"):
            runyard(*arguments, answer=answer)
    with pytest.raises(RunyardError, match="Nothing was changed"):
        runyard("keys", "delete", key_id, answer=answer)
    assert [item["api_key_id"] for item in listed(runyard, "keys")] == [key_id]


def test_an_answer_is_enough(runyard):
    runyard("orgs", "create", "Bees")
    runyard("orgs", "delete", "Bees", answer="y\n")
    assert listed(runyard, "orgs") == []


@pytest.mark.parametrize("status", sorted(frozenset(RunStatus) - TERMINAL))
def test_an_organization_with_a_run_that_has_not_ended_is_kept(runyard, make_run, status, count):
    run = make_run(status=status)
    with pytest.raises(RunyardError, match="have not ended"):
        runyard("orgs", "delete", str(run.organization_id), "--yes")
    assert count(Run) == 1


def test_an_organization_goes_with_all_it_owns(runyard, make_run, make_principal, count):
    other = make_principal()
    run = make_run(status=RunStatus.SUCCEEDED, new_thread=True)
    runyard("orgs", "delete", str(run.organization_id), "--yes")
    assert count(Run) == 0
    assert [key["api_key_id"] for key in listed(runyard, "keys")] == [str(other.key_id)]


def test_a_run_on_its_way_in_keeps_its_organization(
    committed_sessions, make_assistant, dispatcher, factories
):
    assistant, principal = make_assistant(), factories.default_principal()
    refused = []

    def delete():
        try:
            with unit_of_work(committed_sessions) as session:
                organizations.erase(session, principal.organization_id)
        except RunyardError as error:
            refused.append(error)

    deleting = threading.Thread(target=delete)
    with unit_of_work(committed_sessions) as session:
        submit(session, dispatcher, principal, assistant.id, RunRequest(input="Hi"))
        deleting.start()
        deleting.join(0.3)  # it waits for us, wherever it is
        assert deleting.is_alive()
    deleting.join()
    assert "have not ended" in str(refused[0])


def test_a_user_is_a_member_once(runyard, count):
    runyard("orgs", "create", "Bees")
    first = runyard("users", "create", "Queen@example.com", "--org", "Bees")
    assert runyard("users", "create", "queen@EXAMPLE.com", "--org", "Bees") == first
    assert count(Membership) == count(User) == 1


def test_users_are_listed_with_their_organizations(runyard):
    for name in ("Wasps", "Bees"):
        organization_id = runyard("orgs", "create", name)
        runyard("users", "create", "queen@example.com", "--org", organization_id)
    runyard("users", "create", "drone@example.com", "--org", "Bees")
    both = listed(runyard, "users")
    assert [(user["email"], user["organizations"]) for user in both] == [
        ("drone@example.com", ["Bees"]),
        ("queen@example.com", ["Bees", "Wasps"]),
    ]
    assert [user["email"] for user in listed(runyard, "users", "--org", "Wasps")] == ["queen@example.com"]
    assert runyard("users", "list", "--org", "Wasps").split("\t")[1:3] == ["queen@example.com", "Bees, Wasps"]


@pytest.mark.parametrize("email", ["", "queen", "@", "a b@example.com", "a@b@c", "x@" + "y" * 320, "\x1b@x"])
def test_what_is_no_address_is_no_user(runyard, email):
    runyard("orgs", "create", "Bees")
    with pytest.raises(RunyardError, match="not an e-mail address"):
        runyard("users", "create", email, "--org", "Bees")


def test_a_user_of_an_unknown_organization_is_refused(runyard, count):
    with pytest.raises(RunyardError, match="no such organization: Bees"):
        runyard("users", "create", "queen@example.com", "--org", "Bees")
    assert count(User) == 0


def test_a_user_who_leaves_loses_the_keys_and_no_other(runyard, count):
    for name in ("Wasps", "Bees"):
        runyard("keys", "create", "--org", name, "--email", "queen@example.com")
    runyard("users", "delete", "queen@example.com", "--org", "Bees", "--yes")
    assert [key["organization"] for key in listed(runyard, "keys")] == ["Wasps"]
    with pytest.raises(RunyardError, match="no such user"):
        runyard("users", "delete", "queen@example.com", "--org", "Bees", "--yes")


def test_a_user_can_leave_all_organizations_and_what_was_made_stays(runyard, make_run, count):
    run = make_run(status=RunStatus.SUCCEEDED)
    runyard("users", "delete", str(run.created_by), "--yes")
    assert (count(Membership), count(ApiKey), count(Run)) == (0, 0, 1)
    assert [user["organizations"] for user in listed(runyard, "users")] == [[]]


def test_a_key_is_listed_without_its_secret(runyard, committed_sessions):
    secret = runyard("keys", "create", "--org", "Bees", "--email", "queen@example.com", "--name", "hive")
    for options in ([], ["--json"]):
        said = runyard("keys", "list", *options)
        assert "queen@example.com" in said
        assert secret not in said
        assert keys.hash_secret(secret).hex() not in said
    with committed_sessions() as session:
        assert keys.find_principal(session, secret).name == "queen@example.com"


def test_keys_are_listed_by_organization_and_by_user(runyard):
    for name, email in (("Bees", "a@x"), ("Bees", "b@x"), ("Wasps", "a@x")):
        runyard("keys", "create", "--org", name, "--email", email)
    assert len(listed(runyard, "keys")) == 3
    assert {key["email"] for key in listed(runyard, "keys", "--org", "Bees")} == {"a@x", "b@x"}
    assert {key["organization"] for key in listed(runyard, "keys", "--email", "a@x")} == {"Bees", "Wasps"}
    assert len(listed(runyard, "keys", "--email", "a@x", "--org", "Wasps")) == 1


def test_the_key_of_a_run_is_nobodys_to_see_or_delete(runyard, committed_sessions, factories):
    """It comes and goes with an attempt."""
    run = factories.structure_run(status=RunStatus.RUNNING)
    with unit_of_work(committed_sessions) as session:
        keys.create_run_key(session, session.get_one(Run, run.id))
        key_id = session.scalars(select(ApiKey.id).where(ApiKey.run_id == run.id)).one()
    assert str(key_id) not in {key["api_key_id"] for key in listed(runyard, "keys")}
    with pytest.raises(RunyardError, match="no such API key"):
        runyard("keys", "delete", str(key_id), "--yes")


def test_a_deleted_key_lets_nobody_in(runyard, committed_sessions):
    secret = runyard("keys", "create")
    key_id = listed(runyard, "keys")[0]["api_key_id"]
    runyard("keys", "delete", key_id, "--yes")
    with committed_sessions() as session:
        assert keys.find_principal(session, secret) is None
    with pytest.raises(RunyardError, match="no such API key"):
        runyard("keys", "delete", key_id, "--yes")


def test_a_key_is_made_in_an_organization_by_its_id(runyard):
    organization_id = runyard("orgs", "create", "Bees")
    runyard("keys", "create", "--organization", organization_id)
    assert [key["organization"] for key in listed(runyard, "keys")] == ["Bees"]


def test_a_key_that_is_refused_leaves_nothing_behind(runyard, count):
    for options in (["--email", "nobody"], ["--name", ""], ["--org", ""]):
        with pytest.raises(RunyardError):
            runyard("keys", "create", *options)
    assert count(Organization) == count(User) == 0


def test_a_terminal_shows_a_table_and_is_not_steered(runyard, committed_sessions, monkeypatch):
    with unit_of_work(committed_sessions) as session:
        session.add(Organization(name="\x1b[31mBees\t[bold]"))
    monkeypatch.setattr(listing, "is_terminal", lambda: True)
    said = runyard("orgs", "list")
    assert "organization id" in said
    assert "\N{REPLACEMENT CHARACTER}[31mBees" in said
    assert "\x1b" not in said


def test_a_database_without_tables_says_what_is_missing(services):
    with services.cloned_database("template1") as url:
        result = CliRunner(env={"RUNYARD_DATABASE_URL": url}).invoke(main.app, ["orgs", "list"])
    assert isinstance(result.exception, RunyardError)
    assert "runyard migrate" in str(result.exception)


@pytest.fixture
def tenants_organization(committed_sessions):
    """Make an organization as a tenant does over the API; return its id."""

    def make(name):
        with unit_of_work(committed_sessions) as session:
            mallory = User(email=f"mallory-{uuid.uuid4()}@example.com", name="mallory")
            session.add(mallory)
            session.flush()
            organization = Organization(name=name, created_by=mallory.id)
            session.add(organization)
            session.flush()
            session.add(Membership(organization_id=organization.id, user_id=mallory.id, role=Role.OWNER))
            return organization.id

    return make


@pytest.mark.parametrize("command", [["keys", "create"], ["users", "create", "queen@example.com"]])
def test_a_name_that_a_tenant_took_first_gets_the_operator_nowhere_unasked(
    runyard, tenants_organization, count, command
):
    tenants_organization("Bees")
    before = count(ApiKey), count(Membership)
    with pytest.raises(NotConfirmedError):
        runyard(*command, "--org", "Bees")
    assert (count(ApiKey), count(Membership)) == before
    runyard(*command, "--org", "Bees", "--yes")
    assert count(Membership) == before[1] + 1


def test_the_question_shows_whose_organization_it_is(runyard, tenants_organization, capsys, monkeypatch):
    tenants_organization("Bees")
    asked = []
    monkeypatch.setattr(joining, "confirm", lambda question, *, yes: asked.append((question, yes)))
    runyard("keys", "create", "--org", "Bees")
    ((question, yes),) = asked
    assert "mallory-" in question
    assert not yes


def test_an_operators_organization_is_meant_by_its_name_whoever_else_has_that(
    runyard, tenants_organization, committed_sessions
):
    theirs = tenants_organization("Bees")
    ours = runyard("orgs", "create", "Bees")
    runyard("keys", "create", "--org", "Bees")
    with committed_sessions() as session:
        owners = set(session.scalars(select(ApiKey.organization_id)))
    assert owners == {uuid.UUID(ours)} != {theirs}
    with pytest.raises(RunyardError, match="named 'Bees' already"):
        runyard("orgs", "create", "Bees")


def test_a_name_that_is_an_id_takes_that_id_from_nobody(runyard, tenants_organization):
    ours = runyard("orgs", "create", "Wasps")
    tenants_organization(ours)
    runyard("keys", "create", "--org", ours)
    assert [key["organization"] for key in listed(runyard, "keys")] == ["Wasps"]


def test_the_first_key_of_a_development_is_in_no_organization_of_a_tenant(
    tenants_organization, committed_sessions, tmp_path
):
    theirs = tenants_organization(ORGANIZATION)
    with unit_of_work(committed_sessions) as session:
        secret = ensure_first_key(session, tmp_path)
        found = keys.find_principal(session, secret)
    assert found.organization_id != theirs


@pytest.mark.parametrize(("options", "role"), [((), Role.OWNER), (("--role", "member"), Role.MEMBER)])
def test_a_user_is_an_owner_unless_the_command_says_otherwise(runyard, committed_sessions, options, role):
    runyard("orgs", "create", "Bees")
    runyard("users", "create", "queen@example.com", "--org", "Bees", *options)
    with committed_sessions() as session:
        assert session.scalars(select(Membership.role)).one() is role
    runyard("keys", "create", "--org", "Bees", "--email", "queen@example.com")
    with committed_sessions() as session:
        assert session.scalars(select(Membership.role)).one() is role
