"""Settings: old and unknown names are refused, secrets come from files."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from shared.contradictions import ContradictingSettingsError
from shared.processes.failures import sentence_of
from shared.setting_types import SHORTEST_RETENTION
from shared.settings import (
    RENAMED,
    RenamedVariableError,
    Settings,
    demand_startable,
    demand_structure_api_url,
    is_given,
    secrets_in_files,
)
from shared.variables import SecretGivenTwiceError, UnknownVariableError, is_secret, variable_of

URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}
OF_CLI = {"RUNYARD_API_URL": "http://api:8000"}


def settings(**values):
    return Settings.model_validate({**URLS, **values})


@pytest.fixture(autouse=True)
def no_variables_of_the_cli(monkeypatch):
    for name in ("RUNYARD_API_URL", "RUNYARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_an_old_name_in_the_environment_is_an_error_that_says_the_new_one(old, new, spell, monkeypatch):
    monkeypatch.setenv(spell(old), "runs")
    with pytest.raises(RenamedVariableError, match=f"(?i){old} is now {new}"):
        settings()


def test_every_new_name_is_a_setting_and_no_old_one_is():
    variables = {f"RUNYARD_{name.upper()}" for name in Settings.model_fields}
    assert set(RENAMED.values()) <= variables
    assert not set(RENAMED) & variables


@pytest.mark.parametrize("on", [{"structures_dir": "/structures"}, {"structure_callables": "builtins:print"}])
def test_a_worker_of_structures_refuses_the_old_name_of_its_address_of_the_api(on):
    with pytest.raises(RenamedVariableError, match="RUNYARD_API_URL is now RUNYARD_STRUCTURE_API_URL"):
        demand_structure_api_url(settings(**on), OF_CLI)


@pytest.mark.parametrize(
    ("values", "environment"),
    [
        ({}, OF_CLI),  # a worker that executes no structures
        ({"structures_dir": "/s", "structure_api_url": "http://api:8000"}, OF_CLI),
        ({"structures_dir": "/s"}, {**OF_CLI, "RUNYARD_API_KEY": "ry_key"}),  # the command line's pair
        ({"structures_dir": "/s"}, {}),
    ],
)
def test_a_worker_takes_the_address_of_the_command_line_for_what_it_is(values, environment):
    demand_structure_api_url(settings(**values), environment)


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"

    def write(content):
        file.write_text(content)
        return str(file)

    return write


SECRETS = [name for name, field in Settings.model_fields.items() if is_secret(field)]
SECRET = "user:a-secret-of-some-length"
SECRET_OF = {"traces_headers": "authorization=a-secret-of-some-length"}


def test_what_ends_like_a_password_or_a_token_is_a_secret():
    ends = ("database_url", "redis_url", "auth", "token", "headers", "password", "secret", "key")
    named = {name for name in Settings.model_fields if name.endswith(ends) and name != "max_headers"}
    assert {"database_url", "redis_url", "flower_basic_auth"} <= named <= set(SECRETS)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_may_come_from_a_file(name, end, monkeypatch, secret_file):
    secret = SECRET_OF.get(name, SECRET)
    for variable, value in (("DATABASE_URL", URLS["database_url"]), ("REDIS_URL", URLS["redis_url"])):
        monkeypatch.setenv(f"RUNYARD_{variable}", value)
    monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.setenv(f"{variable_of(name)}_FILE", secret_file(f"{secret}{end}"))
    read = Settings()
    assert getattr(read, name).get_secret_value() == secret
    assert secret not in repr(read)
    assert is_given(name)
    assert secrets_in_files() == {variable_of(name): secret}


def test_a_secret_that_stands_in_its_variable_and_in_a_file_is_an_error(monkeypatch, secret_file):
    monkeypatch.setenv("RUNYARD_REDIS_URL", "redis://other")
    monkeypatch.setenv("RUNYARD_REDIS_URL_FILE", secret_file("redis://h"))
    both = "RUNYARD_REDIS_URL and RUNYARD_REDIS_URL_FILE are both set"
    with pytest.raises(SecretGivenTwiceError, match=both):
        Settings(database_url="postgresql://h/d")


def test_an_empty_variable_does_not_contradict_a_file(monkeypatch, secret_file):
    monkeypatch.setenv("RUNYARD_REDIS_URL", "")
    monkeypatch.setenv("RUNYARD_REDIS_URL_FILE", secret_file("redis://h"))
    assert Settings(database_url="postgresql://h/d").redis_url.get_secret_value() == "redis://h"


def test_a_process_does_not_start_with_an_unknown_variable():
    with pytest.raises(
        UnknownVariableError, match="RUNYARD_MODLE is not a setting: did you mean RUNYARD_MODEL"
    ):
        demand_startable(settings(), {"RUNYARD_MODLE": "echo"})
    demand_startable(settings(), {**OF_CLI, "RUNYARD_API_KEY": "ry_key", "RUNYARD_MODEL": "echo"})


@pytest.mark.parametrize("name", ["run_queue", "structure_queue"])
@pytest.mark.parametrize("queue", ["", " ", "runs,more", ","])
def test_runs_are_sent_to_one_queue(name, queue):
    """No worker takes anything from a queue of another name."""
    with pytest.raises(ValidationError, match="must be the name of one queue"):
        settings(**{name: queue})


@pytest.mark.parametrize("name", ["run_queue", "structure_queue", "worker_queues"])
@pytest.mark.parametrize(
    "queue", ["unacked", "unacked_index", " unacked_mutex", "_kombu.binding.runs", "a\x06\x163"]
)
def test_no_queue_has_the_key_of_something_else(name, queue):
    """Redis would refuse each send, and workers would take nothing."""
    with pytest.raises(ValidationError, match="that Celery does not use itself"):
        settings(**{name: queue})
    with pytest.raises(ValidationError, match="that Celery does not use itself"):
        settings(worker_queues=f"runs, {queue}")


@pytest.mark.parametrize("name", ["run_queue", "structure_queue"])
def test_blanks_around_a_queue_do_not_matter_as_they_do_not_to_workers(name):
    assert getattr(settings(**{name: " fast "}), name) == "fast"


def test_memory_in_which_no_program_starts_is_refused():
    """As in megabytes rather than bytes."""
    with pytest.raises(ValidationError, match="greater than or equal to 33554432"):
        settings(structure_memory=512)


def test_a_process_does_not_start_with_contradicting_settings():
    contradicting = settings(heartbeat="20", lease_ttl="20")
    with pytest.raises(
        ContradictingSettingsError,
        match=r"RUNYARD_HEARTBEAT \(20 s\) must be less than RUNYARD_LEASE_TTL \(20 s\)",
    ):
        demand_startable(contradicting, {})


def test_kubernetes_variable_for_the_port_of_a_service_is_named(monkeypatch):
    monkeypatch.setenv("RUNYARD_API_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(ValidationError, match="enableServiceLinks"):
        settings()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_at_the_end_of_a_variable_do_not_belong_to_the_secret(name, end, monkeypatch):
    """As Kubernetes gives a secret that was made of a file."""
    secret = SECRET_OF.get(name, SECRET)
    for variable, value in (("DATABASE_URL", URLS["database_url"]), ("REDIS_URL", URLS["redis_url"])):
        monkeypatch.setenv(f"RUNYARD_{variable}", value)
    monkeypatch.setenv(variable_of(name), f"{secret}{end}")
    assert getattr(Settings(), name).get_secret_value() == secret


def test_line_ends_at_the_end_of_any_other_variable_do_not_count_either(monkeypatch):
    monkeypatch.setenv("RUNYARD_STRUCTURE_API_URL", "http://api:8000\n")
    monkeypatch.setenv("RUNYARD_MODEL", "openai/gpt\r\n")
    read = settings()
    assert (read.structure_api_url, read.model) == ("http://api:8000", "openai/gpt")


def test_a_variable_of_line_ends_alone_gives_no_secret(monkeypatch, secret_file):
    monkeypatch.setenv("RUNYARD_REDIS_URL", "\n")
    assert not is_given("redis_url")
    monkeypatch.setenv("RUNYARD_REDIS_URL_FILE", secret_file("redis://h") + "\n")
    assert Settings(database_url="postgresql://h/d").redis_url.get_secret_value() == "redis://h"


DURATIONS = [name for name, field in Settings.model_fields.items() if "timedelta" in str(field.annotation)]
RETENTIONS = [name for name in DURATIONS if name.startswith("retention_")]
OTHER_DURATIONS = [name for name in DURATIONS if name not in RETENTIONS]


def test_all_durations_are_found():
    assert {"lease_ttl", "termination_grace", "retention_runs", "structure_cpu"} <= set(DURATIONS)
    assert len(DURATIONS) > 30


def all_refused(names, value):
    """What is said of settings that all have a value which none of them takes."""
    with pytest.raises(ValidationError) as refused:
        settings(**dict.fromkeys(names, value))
    sentences = dict(each.split(": ", 1) for each in sentence_of(refused.value).rstrip(".").split("; "))
    assert list(sentences) == [variable_of(name) for name in names]
    return set(sentences.values())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            ("20s", 20),
            ("10m", 600),
            ("2h", 7200),
            ("1d", 86_400),
            ("0.5", 0.5),
            ("5400", 5400),
            ("1e4", 10_000),
        ),
        *(("PT5S", 5), ("P1D", 86_400), ("02:00:00", 7200)),
    ],
)
def test_every_duration_has_one_grammar(text, seconds):
    names = DURATIONS
    if seconds < SHORTEST_RETENTION.total_seconds():
        assert all_refused(RETENTIONS, text) == {"must be 0 to keep everything, or at least 1h"}
        names = OTHER_DURATIONS
    read = settings(**dict.fromkeys(names, text))
    assert [name for name in names if getattr(read, name) != timedelta(seconds=seconds)] == []


@pytest.mark.parametrize("text", ["abc", "5x", "nan", "inf", "-inf", "", "1d2h", "1e99"])
def test_what_is_no_duration_is_told_the_accepted_forms(text):
    assert all_refused(DURATIONS, text) == {
        "must be a duration such as 30d, 12h, 10m or 20s, a number of seconds, or ISO 8601 such as PT20S"
    }


@pytest.mark.parametrize("text", ["-1", "0", "-5m", "-PT1S"])
def test_a_duration_is_more_than_nothing(text):
    assert all_refused(OTHER_DURATIONS, text) == {"must be more than 0"}


def test_a_duration_can_be_kept():
    with pytest.raises(ValidationError, match="must be at most 100 years"):
        settings(lease_ttl="999999d")


@pytest.mark.parametrize("name", ["retention_runs", "retention_threads"])
@pytest.mark.parametrize(
    ("value", "kept"),
    [("30d", timedelta(days=30)), ("3600", timedelta(hours=1)), ("0", None), ("0d", None)],
)
def test_a_retention_is_a_duration_and_zero_is_none(name, value, kept):
    assert getattr(settings(**{name: value}), name) == kept


@pytest.mark.parametrize(
    ("value", "said"), [("-1d", "at least 1h"), ("59m", "at least 1h"), ("a month", "such as 30d")]
)
def test_a_retention_of_minus_one_day_stops_the_start_with_a_sentence(value, said):
    with pytest.raises(ValidationError) as refused:
        settings(retention_runs=value)
    sentence = sentence_of(refused.value)
    assert sentence.startswith("RUNYARD_RETENTION_RUNS: must be ")
    assert said in sentence
    assert sentence.count(".") == 1
