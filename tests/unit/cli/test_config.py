"""`runyard config` shows settings with their sources, and nothing secret."""

import json
import os

import pytest

from cli.commands.config import config, effective, shown
from cli.local.dev_file import DevFile
from shared.addresses.masking import MASK
from shared.contradictions import ContradictingSettingsError
from shared.settings import RenamedVariableError, Settings
from shared.variables import UnknownVariableError

EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("RUNYARD_"):
            monkeypatch.delenv(name)
    (tmp_path / "redis").write_text("redis://:hidden@r:6379/0\n")
    monkeypatch.setenv("RUNYARD_DATABASE_URL", "postgresql://u:hidden@h/d")
    monkeypatch.setenv("RUNYARD_REDIS_URL_FILE", str(tmp_path / "redis"))
    monkeypatch.setenv("RUNYARD_FLOWER_BASIC_AUTH", "user:hidden")
    monkeypatch.setenv("RUNYARD_STRUCTURE_API_URL", "http://user:hidden@api:8000")
    monkeypatch.setenv("runyard_lease_ttl", "30.5")


def rows(capsys, tmp_path):
    config(as_json=True, data_dir=tmp_path / "none")
    return {row["variable"]: (row["value"], row["source"]) for row in json.loads(capsys.readouterr().out)}


def test_every_setting_has_its_value_and_its_source(capsys, tmp_path):
    told = rows(capsys, tmp_path)
    assert list(told) == [f"RUNYARD_{name.upper()}" for name in Settings.model_fields]
    assert told["RUNYARD_DATABASE_URL"] == (f"postgresql://u:{MASK}@h/d", "environment")
    assert told["RUNYARD_REDIS_URL"] == (f"redis://:{MASK}@r:6379/0", "file")
    assert told["RUNYARD_FLOWER_BASIC_AUTH"] == (MASK, "environment")
    assert told["RUNYARD_MIGRATION_DATABASE_URL"] == ("", "default")
    assert told["RUNYARD_STRUCTURE_API_URL"] == (f"http://{MASK}@api:8000", "environment")
    assert told["RUNYARD_LEASE_TTL"] == ("30.5", "environment")
    assert told["RUNYARD_HEARTBEAT"] == ("5", "default")


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_secret_is_printed(as_json, capsys, tmp_path):
    config(as_json=as_json, data_dir=tmp_path / "none")
    printed = capsys.readouterr()
    assert "RUNYARD_REDIS_URL" in printed.out
    assert "hidden" not in printed.out + printed.err


def test_the_addresses_of_a_running_dev_have_it_as_their_source(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("RUNYARD_REDIS_URL_FILE")
    tmp_path.chmod(0o700)
    DevFile("http://h", "ry_key", "http://h", "postgresql://h/dev", "redis://:hidden@dev", {}).write(tmp_path)
    config(as_json=True, data_dir=tmp_path)
    told = {row["variable"]: row for row in json.loads(capsys.readouterr().out)}
    assert told["RUNYARD_REDIS_URL"]["source"] == "runyard dev"
    assert told["RUNYARD_REDIS_URL"]["value"] == f"redis://:{MASK}@dev"
    assert told["RUNYARD_DATABASE_URL"]["source"] == "environment"


def test_an_unknown_variable_is_an_error_as_at_a_start(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNYARD_MODLE", "echo")
    with pytest.raises(UnknownVariableError):
        config(data_dir=tmp_path / "none")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"METRICS_HOST": EVERYWHERE, "METRICS_PORT": "9100"}, "RUNYARD_METRICS_TOKEN"),
        ({"DATABASE_POOL": "9"}, r"RUNYARD_DATABASE_POOL \(9\) is too small for the API, which needs 10"),
        ({"FLOWER_HOST": EVERYWHERE}, "RUNYARD_FLOWER_BASIC_AUTH=user:password"),
    ],
)
def test_what_a_single_process_demands_is_an_error_too(given, said, monkeypatch, tmp_path):
    monkeypatch.delenv("RUNYARD_FLOWER_BASIC_AUTH")
    for name, value in given.items():
        monkeypatch.setenv(f"RUNYARD_{name}", value)
    with pytest.raises(ContradictingSettingsError, match=said):
        config(data_dir=tmp_path / "none")


def test_all_unmet_demands_are_told_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNYARD_DATABASE_POOL", "5")
    monkeypatch.setenv("RUNYARD_METRICS_HOST", "::")
    monkeypatch.setenv("RUNYARD_METRICS_PORT", "0")
    with pytest.raises(ContradictingSettingsError) as refused:
        config(data_dir=tmp_path / "none")
    assert "RUNYARD_DATABASE_POOL (5)" in str(refused.value)
    assert "RUNYARD_METRICS_TOKEN" in str(refused.value)


def test_demands_that_are_met_are_no_error(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RUNYARD_DATABASE_POOL", "10")
    monkeypatch.setenv("RUNYARD_METRICS_HOST", EVERYWHERE)
    assert "RUNYARD_METRICS_HOST" in rows(capsys, tmp_path)
    monkeypatch.setenv("RUNYARD_METRICS_PORT", "9100")
    monkeypatch.setenv("RUNYARD_METRICS_TOKEN", "a-token-of-some-length")
    monkeypatch.setenv("RUNYARD_FLOWER_HOST", EVERYWHERE)
    assert "RUNYARD_METRICS_HOST" in rows(capsys, tmp_path)
    monkeypatch.delenv("RUNYARD_FLOWER_BASIC_AUTH")
    monkeypatch.setenv("FLOWER_AUTH", ".*@example.com")
    assert "RUNYARD_METRICS_HOST" in rows(capsys, tmp_path)


def test_the_old_name_of_the_address_of_the_api_is_an_error_as_for_a_worker(monkeypatch, tmp_path):
    monkeypatch.delenv("RUNYARD_STRUCTURE_API_URL")
    monkeypatch.setenv("RUNYARD_STRUCTURES_DIR", "/structures")
    monkeypatch.setenv("RUNYARD_API_URL", "http://api:8000")
    with pytest.raises(RenamedVariableError):
        config(data_dir=tmp_path / "none")


def test_a_value_reads_back_as_the_same_setting():
    """Except a secret one: what the table shows can be set in the environment."""
    settings = Settings()
    visible = {row["variable"]: row["value"] for row in effective(settings, {}) if MASK not in row["value"]}
    given = {name.removeprefix("RUNYARD_").lower(): value for name, value in visible.items() if value}
    again = Settings.model_validate(given)
    assert {name: getattr(again, name) for name in given} == {name: getattr(settings, name) for name in given}


def test_a_list_of_addresses_is_masked_one_by_one():
    value = "https://a.example,https://t:hidden@b.example"
    assert shown(value, is_secret=False) == f"https://a.example,https://{MASK}@b.example"
