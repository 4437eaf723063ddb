"""What a worker finds missing when it starts."""

import pytest
from structlog.testing import capture_logs

from shared.settings import Settings
from worker.process import self_check

URLS = {"database_url": "postgresql://h/d", "redis_url": "redis://h"}


@pytest.fixture
def found(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def found(**values):
        self_check.check(Settings.model_validate({**URLS, **values}))
        return self_check.complaints()

    yield found
    self_check.check(Settings.model_validate(URLS))


def test_a_worker_with_the_offline_model_lacks_nothing(found):
    assert found() == []


def test_a_model_of_no_provider_is_told(found):
    (said,) = found(model="oppenai/gpt")
    assert said.startswith("RUNYARD_MODEL=oppenai/gpt: There is no provider 'oppenai'")


def test_a_missing_key_is_told_by_the_name_of_its_variable(found):
    (said,) = found(model="openai/gpt-4.1-mini")
    assert "OPENAI_API_KEY" in said


def test_an_extension_without_effect_is_a_warning_and_no_complaint(found, monkeypatch):
    monkeypatch.setattr(self_check, "shadowed_extensions", lambda: ["'openai' is ignored."])
    with capture_logs() as logs:
        assert found() == []
    assert {
        "event": "extension without effect",
        "reason": "'openai' is ignored.",
        "log_level": "warning",
    } in logs


def test_a_model_that_can_be_called_is_not_called(found, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert found(model="openai/any") == []


@pytest.mark.parametrize("name", ["structure_folders", "structure_callables"])
def test_a_list_of_what_structures_may_execute_that_cannot_be_read_is_told(found, name):
    (said,) = found(**{name: "reports@bees"})
    assert said.startswith("What structures may execute cannot be read: 'reports@bees': ")


def test_a_path_for_programs_that_is_not_there_is_told(found, tmp_path):
    (tmp_path / "models").mkdir()
    assert found(structure_paths=f"{tmp_path}/modles, {tmp_path}/models") == [
        f"RUNYARD_STRUCTURE_PATHS: there is no {tmp_path}/modles."
    ]


def test_a_missing_directory_of_structures_is_told(found, tmp_path):
    assert found(structures_dir=tmp_path / "none") == [
        f"RUNYARD_STRUCTURES_DIR: there is no directory {tmp_path / 'none'}."
    ]
