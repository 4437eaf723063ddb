"""`runyard migrate`, `runyard keys create` and the first key, on a real database."""

import stat

import pytest
from typer.testing import CliRunner

from cli.commands.keys import app as keys_app
from cli.commands.migrate import migrate_app
from cli.local.first_key import ensure_first_key
from shared.db import make_engine, unit_of_work
from shared.keys import service
from shared.migrations.schema import is_current


@pytest.fixture
def runner(committed_settings):
    urls = {
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
    }
    return CliRunner(env=urls)


def test_migrate_brings_an_empty_database_up_to_date(services):
    with services.cloned_database("template1") as url:
        result = CliRunner(env={"RUNYARD_DATABASE_URL": url}).invoke(migrate_app)
        engine = make_engine(services.settings(database_url=url))
        assert (result.exit_code, is_current(engine)) == (0, True)
        engine.dispose()


def test_a_key_is_printed_alone_and_lets_its_bearer_in(runner, committed_sessions):
    arguments = ["create", "--organization", "Bees", "--email", "queen@example.com"]
    secret = runner.invoke(keys_app, arguments).stdout.strip()
    with unit_of_work(committed_sessions) as session:
        principal = service.find_principal(session, secret)
    assert principal is not None
    assert principal.name == "queen@example.com"


def test_the_first_key_is_made_once_and_kept_private(sessions, tmp_path):
    with unit_of_work(sessions) as session:
        secret = ensure_first_key(session, tmp_path)
    with unit_of_work(sessions) as session:
        assert ensure_first_key(session, tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600


def test_a_kept_key_that_the_database_does_not_know_is_replaced(sessions, tmp_path):
    (tmp_path / "api-key").write_text("ry_of_another_database")
    with unit_of_work(sessions) as session:
        secret = ensure_first_key(session, tmp_path)
        assert service.find_principal(session, secret) is not None
    assert (tmp_path / "api-key").read_text() == secret
