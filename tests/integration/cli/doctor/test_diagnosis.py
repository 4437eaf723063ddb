"""What the diagnosis finds, each by causing it."""

import time
from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from cli.doctor import broker
from cli.doctor.broker import examine_broker
from cli.doctor.diagnosis import diagnose
from cli.doctor.findings import Severity
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import ProcessKind
from shared.processes import beats

NOWHERE = "127.0.0.1:1"

OK, WARNING, PROBLEM = Severity.OK, Severity.WARNING, Severity.PROBLEM


def by_name(findings):
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


@pytest.fixture(autouse=True)
def _nobody_to_wait_for(monkeypatch):
    """No worker is there to answer."""
    monkeypatch.setattr(broker, "ANSWER_TIMEOUT", 0.05)


@pytest.fixture
def examined(committed_settings):
    """What is found in the test's own database and Redis."""

    def examined(*, clock=time.time, **changes):
        values = {**committed_settings.model_dump(exclude_unset=True), **changes}
        return by_name(diagnose(type(committed_settings).model_validate(values), clock=clock).findings)

    return examined


@pytest.fixture
def execute(superuser_engine):
    def execute(statement):
        with superuser_engine.begin() as connection:
            connection.execute(text(statement))

    return execute


@pytest.fixture
def client(committed_settings):
    with redis.Redis.from_url(committed_settings.redis_url.get_secret_value()) as client:
        yield client


@pytest.fixture
def configure(client):
    """Set Redis otherwise for the length of a test."""
    before = {}

    def configure(name, value):
        before.update(client.config_get(name))
        client.config_set(name, value)

    yield configure
    for name, value in before.items():
        client.config_set(name, value)


@pytest.fixture
def beat(committed_sessions, superuser_engine):
    """Have a process say that it goes on, some seconds ago."""

    def beat(name, kind, *, seconds_ago=0):
        with unit_of_work(committed_sessions) as session:
            beats.beat(session, name, kind)
        ago = text(
            "UPDATE process_beats SET beat_at = now() - make_interval(secs => :ago) WHERE name = :name"
        )
        with superuser_engine.begin() as connection:
            connection.execute(ago, {"ago": seconds_ago, "name": name})

    return beat


def test_a_healthy_installation_lacks_workers_only(examined, make_run, beat):
    beat("host/1", ProcessKind.RECONCILER)
    for status in RunStatus:
        make_run(status=status)
    found = examined()
    assert {name for name, finding in found.items() if finding.severity is not OK} == {"Workers"}
    assert found["Workers"].severity is PROBLEM
    assert found["Runs"].seen == "1 QUEUED, 1 STARTING, 1 RUNNING."
    assert "hold" in found["Invariants"].seen
    assert {"PostgreSQL", "Schema", "Clock", "Redis", "Redis writes", "Versions"} <= set(found)
    assert not any(finding.advice for finding in found.values() if finding.severity is OK)


def test_nothing_is_changed(examined, committed_engine, client, make_run):
    run = make_run(status=RunStatus.RUNNING)

    def stored():
        with committed_engine.connect() as connection:
            row = connection.execute(text(f"SELECT runs.*, runs.xmin FROM runs WHERE id = '{run.id}'")).one()
        return row, client.llen("runs"), client.exists("runyard:doctor")

    before = stored()
    examined()
    assert stored() == before


def test_postgresql_that_is_away_is_a_problem(examined):
    found = examined(database_url=f"postgresql://nobody@{NOWHERE}/none")
    assert found["PostgreSQL"].severity is PROBLEM
    assert "refused" in found["PostgreSQL"].seen
    assert "RUNYARD_DATABASE_URL" in found["PostgreSQL"].advice
    assert found["Redis"].severity is OK


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://h/d", "postgresql://h/d?no_such=1", "postgresql://u:se/cret@h/d"]
)
def test_an_address_that_is_none_is_a_problem(examined, url):
    found = examined(database_url=url)
    assert found["PostgreSQL"].severity is PROBLEM
    assert "RUNYARD_DATABASE_URL" in found["PostgreSQL"].advice
    assert "cret" not in found["PostgreSQL"].seen


def test_a_database_that_is_not_there_is_a_problem(examined, committed_settings):
    url = committed_settings.database_url.get_secret_value().replace("runyard_template_", "not_there_")
    assert "does not exist" in examined(database_url=url)["PostgreSQL"].seen


def test_missing_migrations_are_a_problem_and_runs_are_not_looked_at(examined, execute):
    execute("UPDATE alembic_version SET version_num = '0001'")
    found = examined()
    assert (found["Schema"].severity, found["Schema"].advice) == (PROBLEM, "Run `runyard migrate`.")
    assert "Invariants" not in found


def test_an_empty_database_lacks_migrations(examined, execute):
    execute("DROP SCHEMA public CASCADE")
    execute("CREATE SCHEMA public")
    execute("GRANT USAGE ON SCHEMA public TO runyard_app")
    assert examined()["Schema"].severity is PROBLEM


def test_a_newer_release_s_database_is_a_warning(examined, execute):
    execute("UPDATE alembic_version SET version_num = '9999'")
    found = examined()
    assert found["Schema"].severity is WARNING
    assert found["Invariants"].severity is OK


def test_a_newer_release_s_database_may_refuse(committed_settings, execute):
    execute("UPDATE alembic_version SET version_num = '9999'")
    execute("ALTER TABLE run_tallies RENAME TO otherwise")
    (refused,) = [
        finding
        for finding in diagnose(committed_settings).findings
        if (finding.name, finding.severity) == ("PostgreSQL", PROBLEM)
    ]
    assert "run_tallies" in refused.seen


@pytest.mark.parametrize(("ahead", "severity"), [(60, WARNING), (-60, WARNING), (1, OK), (-1, OK)])
def test_a_clock_that_is_wrong_is_a_warning(examined, ahead, severity):
    clock = examined(clock=lambda: time.time() + ahead)["Clock"]
    assert clock.severity is severity
    assert ("behind" if ahead > 0 else "ahead") in clock.seen


def test_a_broken_invariant_is_a_problem(examined, execute, make_run):
    make_run()
    execute("UPDATE runs SET event_count = 9")
    found = examined()["Invariants"]
    assert (found.severity, found.seen) == (PROBLEM, "1 violation: events_are_dense.")


def test_redis_that_is_away_is_a_problem(examined):
    found = examined(redis_url=f"redis://{NOWHERE}/0")
    assert found["Redis"].severity is PROBLEM
    assert "RUNYARD_REDIS_URL" in found["Redis"].advice
    assert found["Invariants"].severity is OK
    assert "Workers" not in found


def test_an_address_that_is_none_of_redis_is_a_problem(examined):
    for url in ("http://h", "redis://user:se/cret@h"):
        found = examined(redis_url=url)["Redis"]
        assert found.severity is PROBLEM
        assert "se/" not in found.seen
        assert "cret" not in found.seen


def test_redis_of_which_nothing_is_known_is_a_warning(examined):
    assert examined(redis_url="")["Redis"].severity is WARNING


def test_redis_that_takes_no_writes_is_a_problem(examined, configure):
    configure("min-replicas-to-write", "1")
    found = examined()
    assert found["Redis writes"].severity is PROBLEM
    assert "Workers" not in found


def test_redis_that_is_full_is_a_problem(examined, configure):
    configure("maxmemory", "1")
    assert examined()["Redis writes"].severity is PROBLEM


def test_redis_that_does_not_let_us_find_out_is_a_warning(client, committed_settings):
    url = committed_settings.redis_url.get_secret_value()
    client.acl_setuser(
        "shy",
        enabled=True,
        passwords=["+pass"],
        categories=["+@all"],
        commands=["-lpushx"],
        keys=["*"],
        reset=True,
    )
    try:
        shy = f"redis://shy:pass@{url.removeprefix('redis://').rpartition('@')[2]}"
        changed = type(committed_settings).model_validate(
            {"database_url": "postgresql://h/d", "redis_url": shy}
        )
        assert by_name(examine_broker(changed).findings)["Redis writes"].severity is WARNING
    finally:
        client.acl_deluser("shy")


@pytest.mark.parametrize(
    ("policy", "severity"), [("allkeys-lru", WARNING), ("noeviction", OK), ("volatile-lru", OK)]
)
def test_redis_that_throws_queues_away_is_a_warning(examined, configure, policy, severity):
    configure("maxmemory-policy", policy)
    memory = examined()["Redis memory"]
    assert memory.severity is severity
    assert policy in memory.seen


def test_messages_that_wait_are_counted(examined, client):
    client.lpush("runs", "a", "b")
    assert examined()["Queue"].seen == "2 messages wait in 'runs'."


def test_an_installation_without_a_reconciler_has_a_problem(examined, beat):
    found = examined()["Reconciler"]
    assert (found.severity, found.seen) == (PROBLEM, "None is running.")
    beat("host/1", ProcessKind.RECONCILER, seconds_ago=3600)
    found = examined()["Reconciler"]
    assert found.severity is PROBLEM
    assert found.seen.startswith("host/1 has done no round for 36")
    beat("host/2", ProcessKind.RECONCILER)
    assert examined()["Reconciler"].severity is OK


def test_a_worker_that_fell_silent_is_named(examined, beat):
    beat("there@host", ProcessKind.WORKER)
    assert "Silent workers" not in examined()
    beat("stopped@host", ProcessKind.WORKER, seconds_ago=100)
    found = examined()["Silent workers"]
    assert found.severity is WARNING
    assert found.seen.startswith("stopped@host has been silent for 1")


def test_runs_that_were_lost_just_now_are_told_with_their_worker(examined, execute, make_run):
    for status in (RunStatus.ERROR, RunStatus.QUEUED, RunStatus.SUCCEEDED):
        make_run(status=status)
    assert "Lost workers" not in examined()
    execute(
        """UPDATE runs SET status_detail = '{"reason": "WorkerLost", "worker": "host/7"}'"""
        " WHERE status IN ('ERROR', 'QUEUED')"
    )
    found = examined()["Lost workers"]
    assert found.severity is WARNING
    assert found.seen == "Runs that lost their worker in the last 15 minutes: 2, of host/7."
    execute("UPDATE runs SET completed_at = completed_at - interval '1 hour'")
    execute("UPDATE runs SET queued_at = queued_at - interval '1 hour'")
    assert "Lost workers" not in examined()


@pytest.mark.parametrize("model", ["oppenai/gpt", "openai", "openai/", ""])
def test_a_model_without_a_provider_is_a_problem(examined, model):
    found = examined(model=model)["Model"]
    assert found.severity is PROBLEM
    assert "amazon-bedrock" in found.advice


def test_models_of_known_providers_are_none(examined):
    for model in ("echo", "echo/any", "openai/gpt", "ollama/llama3.2:3b"):
        assert "Model" not in examined(model=model)


def test_a_missing_directory_of_structures_is_a_problem(examined, tmp_path):
    assert examined(structures_dir=tmp_path / "none")["Structures"].severity is PROBLEM
    assert "Structures" not in examined(structures_dir=tmp_path)


def test_a_misspelt_variable_is_told_with_what_was_meant(examined, monkeypatch):
    monkeypatch.setenv("RUNYARD_MODLE", "echo")
    monkeypatch.setenv("RUNYARD_API_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("RUNYARD_API_KEY", "ry_secret")
    found = examined()["Variables"]
    assert (found.severity, found.seen) == (
        PROBLEM,
        "RUNYARD_MODLE is not a setting: did you mean RUNYARD_MODEL?",
    )


def test_contradicting_settings_are_a_problem(examined):
    found = examined(heartbeat=timedelta(seconds=30))["Contradictions"]
    assert found.severity is PROBLEM
    assert "RUNYARD_HEARTBEAT (30 s) must be less than RUNYARD_LEASE_TTL" in found.seen


def test_the_workers_old_address_of_the_api_is_a_problem(examined, monkeypatch, tmp_path):
    monkeypatch.delenv("RUNYARD_API_KEY", raising=False)
    monkeypatch.setenv("RUNYARD_API_URL", "http://api:8000")
    found = examined(structures_dir=tmp_path)["Renamed"]
    assert found.severity is PROBLEM
    assert "RUNYARD_API_URL is now RUNYARD_STRUCTURE_API_URL" in found.seen
    assert "Renamed" not in examined(structures_dir=tmp_path, structure_api_url="http://api:8000")
