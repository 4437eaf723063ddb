"""Which executor a model string asks for."""

import sys
from pathlib import Path

import pytest

from shared import extensions
from worker.executors import extensions as executor_extensions
from worker.executors import models, registry
from worker.executors.base import InvalidConfigurationError

ACME = """
def execute(context, emit):
    return "executed by acme"

not_callable = "text"
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a distribution with these entry points."""

    def install(entry_points: str) -> None:
        metadata = tmp_path / "acme-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[runyard.executors]\n{entry_points}\n")
        (tmp_path / "acme_executor.py").write_text(ACME)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "acme_executor", raising=False)
        monkeypatch.setattr(registry, "_loaded", {})
        extensions.installed_executors.cache_clear()

    yield install
    monkeypatch.undo()
    extensions.installed_executors.cache_clear()


def test_installed_executors_are_looked_up_once_and_not_for_each_run(acme, monkeypatch) -> None:
    acme("acme = acme_executor:execute")
    registry.resolve("acme/m")
    monkeypatch.setattr(extensions, "entry_points", lambda **_: pytest.fail("looked up again"))
    registry.resolve("acme/other")


@pytest.mark.parametrize(
    "model", ["echo", "echo/any", *(f"{p}/m" for p in sorted(registry.FRAMEWORK_PROVIDERS))]
)
def test_the_frameworks_providers_have_one_executor(model) -> None:
    assert registry.resolve(model) is registry.resolve("echo")


@pytest.mark.parametrize("provider", sorted(registry.FRAMEWORK_PROVIDERS))
def test_every_provider_has_a_module(provider) -> None:
    assert callable(models.load_provider(provider).build)


@pytest.mark.parametrize("model", ["gpt-4o", "acme/m", "", "/", "OpenAI/gpt-4o", "openai2/m", "../../etc"])
def test_an_unknown_provider_is_named_with_those_that_are_known(model) -> None:
    with pytest.raises(InvalidConfigurationError) as refusal:
        registry.resolve(model)

    assert repr(model.partition("/")[0]) in str(refusal.value)
    assert "anthropic, azure-openai, cohere, echo, google, ollama, openai" in str(refusal.value)


@pytest.mark.parametrize("model", ["openai", "openai/"])
def test_a_provider_without_a_model_is_refused(model) -> None:
    with pytest.raises(InvalidConfigurationError, match="no model"):
        registry.resolve(model)


@pytest.mark.parametrize("model", ["acme/m", "acme"])
def test_another_distribution_can_bring_an_executor(acme, model) -> None:
    acme("acme = acme_executor:execute")

    assert registry.resolve(model)(None, None) == "executed by acme"  # type: ignore[arg-type]  # it looks at neither


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("acme_executor:nothing", "cannot be loaded"),
        ("no_such_module:execute", "cannot be loaded"),
        ("acme_executor:not_callable", "is not callable"),
    ],
)
def test_an_executor_that_is_none_is_our_configuration(acme, target, why) -> None:
    acme(f"acme = {target}")

    with pytest.raises(InvalidConfigurationError, match=why) as refusal:
        registry.resolve("acme/m")
    assert target in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ValueError('it is broken')", "it is broken"),
        ("def (", "invalid syntax"),
        ("raise SystemExit", "SystemExit"),
        ("import acme_lacks_this", "No module named 'acme_lacks_this'"),
        ("1 / 0", "division by zero"),
    ],
)
def test_an_executor_whose_module_raises_anything_ends_no_worker(acme, tmp_path, code, why) -> None:
    """A worker that died of it would be started again and again, and serve nobody."""
    acme("acme = acme_executor:execute")
    (tmp_path / "acme_executor.py").write_text(code)

    registry.warm_up()

    (told,) = executor_extensions.unusable()
    assert told.startswith("The executor 'acme' (acme_executor:execute) cannot be loaded: ")
    assert why in told
    with pytest.raises(InvalidConfigurationError, match="cannot be loaded"):
        registry.resolve("acme/m")


def test_what_can_be_loaded_is_not_told(acme) -> None:
    acme("acme = acme_executor:execute")
    assert executor_extensions.unusable() == []


def test_no_distribution_can_take_a_providers_name(acme) -> None:
    acme("openai = acme_executor:execute")

    assert registry.resolve("openai/m") is registry.resolve("echo")


def test_a_package_that_is_not_installed_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    monkeypatch.delitem(sys.modules, "worker.executors.griptape.providers.cohere", raising=False)

    with pytest.raises(InvalidConfigurationError, match="lacks a package that cohere needs: cohere"):
        models.load_provider("cohere")


@pytest.mark.parametrize("error", [ImportError("no"), TypeError("of another version"), ValueError()])
def test_a_library_that_raises_anything_as_it_is_loaded_ends_no_worker(monkeypatch, error) -> None:
    def fail():
        raise error

    monkeypatch.setattr(models.load_provider("cohere"), "warm_up", fail)
    assert models.unusable_providers() == []
    monkeypatch.setenv("COHERE_API_KEY", "key-of-a-test")

    registry.warm_up()

    (told,) = models.unusable_providers()
    assert "cohere needs" in told


def test_warming_up_leaves_a_missing_package_to_the_runs(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    monkeypatch.delitem(sys.modules, "worker.executors.griptape.providers.cohere", raising=False)

    monkeypatch.setenv("COHERE_API_KEY", "key-of-a-test")

    registry.warm_up()
