"""What is chosen to hold programs, and how it is told."""

import os
import pwd
import shutil

import pytest

from cli.doctor.findings import Severity
from cli.doctor.sandbox import examine_sandbox
from shared.settings import Settings
from shared.structures import sandbox
from shared.structures.sandbox import Mode, choose


@pytest.fixture(autouse=True)
def _fresh():
    """What was tried out is not remembered from one test to the next."""
    sandbox._choose.cache_clear()
    yield
    sandbox._choose.cache_clear()


def settings(**values):
    return Settings(database_url="postgresql://", redis_url="redis://", **values)


@pytest.fixture
def without_bubblewrap(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)


def test_auto_never_does_without(without_bubblewrap, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    choice = choose(settings())
    assert choice.sandbox is None
    assert "bubblewrap is not installed" in choice.why_not
    assert "install bubblewrap on the worker, or set RUNYARD_STRUCTURE_SANDBOX=none" in choice.why_not
    assert len(choice.why_not.splitlines()) == 1


def test_where_user_namespaces_are_not_allowed_that_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/false")
    choice = choose(settings(structure_sandbox="bubblewrap"))
    assert choice.sandbox is None
    assert "user namespaces are not allowed here" in choice.why_not or "as root needs users" in choice.why_not
    assert len(choice.why_not.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives programs users of their own")
@pytest.mark.parametrize("mode", ["bubblewrap", "user", "auto"])
def test_no_program_gets_the_id_of_a_user_of_the_machine(mode, monkeypatch):
    """At its end all processes of its user would be killed."""
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/true")
    nobody = pwd.getpwnam("nobody").pw_uid
    choice = choose(settings(structure_sandbox=mode, structure_uid=nobody - 10, structure_uids=11))
    assert choice.sandbox is None
    assert f"nobody ({nobody}) is among the users for programs (RUNYARD_STRUCTURE_UID)" in choice.why_not


def test_none_is_what_is_asked_for():
    choice = choose(settings(structure_sandbox="none"))
    assert choice.sandbox is not None
    assert choice.sandbox.mode is Mode.NONE


def test_the_doctor_warns_of_programs_that_nothing_holds(without_bubblewrap, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert examine_sandbox(settings(structure_sandbox="none")).severity is Severity.WARNING
    assert examine_sandbox(settings(structure_callables="a:b")).severity is Severity.WARNING
    only_the_sample = examine_sandbox(settings())
    assert only_the_sample.severity is Severity.OK
    assert "no sandbox" in only_the_sample.seen
