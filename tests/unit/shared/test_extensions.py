"""Extensions whose name another one has are told."""

from importlib.metadata import EntryPoint

import pytest

from shared import extensions


@pytest.fixture
def installed(monkeypatch):
    """Install these entry points, and no others."""

    def install(*points):
        monkeypatch.setattr(
            extensions, "entry_points", lambda group: [point for point in points if point.group == group]
        )
        extensions.installed_executors.cache_clear()
        extensions.installed_guardrails.cache_clear()
        return extensions.shadowed_extensions()

    yield install
    monkeypatch.undo()
    extensions.installed_executors.cache_clear()
    extensions.installed_guardrails.cache_clear()


def executor(name, value):
    return EntryPoint(name, value, extensions.EXECUTORS)


def test_an_executor_named_like_a_provider_of_the_framework_is_told(installed):
    (told,) = installed(executor("acme", "acme:run"), executor("openai", "acme:run"))
    assert told.startswith("The executor 'openai' of acme:run is ignored: a provider that is built in")


@pytest.mark.parametrize("group", [extensions.EXECUTORS, extensions.GUARDRAILS])
def test_of_two_extensions_of_one_name_the_one_without_effect_is_told(installed, group):
    (told,) = installed(EntryPoint("pii", "first:it", group), EntryPoint("pii", "second:it", group))
    assert "'pii' of first:it is ignored: second:it has its name." in told


def test_extensions_with_names_of_their_own_are_not_told(installed):
    assert (
        installed(executor("acme", "acme:run"), EntryPoint("acme", "acme:look", extensions.GUARDRAILS)) == []
    )
