"""Addresses that no process can use: each command says so in one line, and does nothing else."""

import pytest

from tests.support.stack import environment

GOOD = {"RUNYARD_DATABASE_URL": "postgresql://h/d", "RUNYARD_REDIS_URL": "redis://h"}


@pytest.fixture
def refused(commands, tmp_path):
    """What a command says before it exits with 1."""

    def refused(*command, **given):
        done = commands.run(command, environment(**{**GOOD, **given}), tmp_path)
        assert done.returncode == 1, done.stdout
        *before, line = done.stderr.splitlines()
        assert all(said.startswith("Starting.") for said in before)
        assert "cret" not in line
        return line

    return refused


@pytest.mark.parametrize("process", ["api", "worker", "reconciler", "flower", "drain"])
def test_no_process_starts_for_a_sentinel(process, refused):
    assert "Sentinel" in refused(process, RUNYARD_REDIS_URL="sentinel://:se/cret@h:26379")


@pytest.mark.parametrize("command", ["api", "worker", "reconciler", "flower", "migrate", "keys"])
def test_nothing_starts_for_a_database_that_is_none(command, refused):
    command_line = ["keys", "create"] if command == "keys" else [command]
    line = refused(*command_line, RUNYARD_DATABASE_URL="postgresql://u:se/cret@h/d")
    assert "RUNYARD_DATABASE_URL is not an address of PostgreSQL" in line


def test_the_address_for_migrations_is_named_if_it_is_the_one(refused):
    line = refused("migrate", RUNYARD_MIGRATION_DATABASE_URL="postgresql://h/d?no_such=1")
    assert "RUNYARD_MIGRATION_DATABASE_URL has a parameter 'no_such'" in line


def test_a_development_stack_does_not_start_for_a_sentinel_either(tmp_path, refused):
    said = refused("dev", "--data-dir", str(tmp_path / "data"), RUNYARD_REDIS_URL="sentinel://h:26379")
    assert "Sentinel" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RUNYARD_DATABASE_POOLER", "statement", "RUNYARD_DATABASE_POOLER"),
        ("RUNYARD_REDIS_PREFIX", "two words", "RUNYARD_REDIS_PREFIX"),
        ("RUNYARD_REDIS_CA", "/nowhere/ca.pem", "RUNYARD_REDIS_CA"),
    ],
)
def test_a_setting_of_a_connection_that_means_nothing_is_named(name, value, words, refused):
    assert words in refused("reconciler", **{name: value})
