"""A worker's options are declared once: every command line takes the same ones, and refuses the same."""

import inspect

import pytest
from typer.testing import CliRunner

from cli.commands import dev, processes
from shared.settings import Settings
from shared.workers import OPTIONS, command_line
from worker.process.options import SupervisorOptions

SETTINGS = Settings.model_validate({"database_url": "none://", "redis_url": "none://"})
VALUES = {"name": "blue", "processes": 3, "concurrency": 7, "pool": "prefork", "queues": "a,b"}


def test_the_worker_reads_every_option_that_the_command_line_writes():
    options = SupervisorOptions.parse(SETTINGS, command_line(**VALUES))

    assert {name: getattr(options, name) for name in OPTIONS} == VALUES


def test_an_option_without_a_value_is_left_to_the_worker():
    assert command_line(concurrency=7, processes=None) == ["--concurrency=7"]


def test_an_unknown_option_is_a_mistake_of_the_caller():
    with pytest.raises(KeyError):
        command_line(colour="blue")


def test_runyard_worker_takes_every_option_and_dev_some():
    assert set(inspect.signature(processes.worker).parameters) == set(OPTIONS)
    assert set(inspect.signature(dev.dev).parameters) & set(OPTIONS) == {"concurrency", "processes"}


def test_runyard_worker_passes_every_option_on(monkeypatch):
    become = []
    monkeypatch.setattr(processes, "_become", become.append)

    done = CliRunner().invoke(processes.worker_app, command_line(**VALUES))

    assert done.exit_code == 0, done.output
    (command,) = become
    options = SupervisorOptions.parse(SETTINGS, command[command.index("worker") + 1 :])
    assert {name: getattr(options, name) for name in OPTIONS} == VALUES


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("processes", "0", "'0' is not a whole number from 1 up"),
        ("concurrency", "x", "'x' is not a whole number from 1 up"),
        ("pool", "gevent", "'gevent' is not one of threads, prefork"),
        ("name", "a b", "a worker's name has letters"),
    ],
)
def test_each_command_line_refuses_a_bad_value_with_the_same_sentence(option, value, sentence, capsys):
    arguments = command_line(**{option: value})
    refused = CliRunner().invoke(processes.worker_app, arguments, env={"COLUMNS": "200"})
    with pytest.raises(SystemExit):
        SupervisorOptions.parse(SETTINGS, arguments)

    assert refused.exit_code == 2
    assert sentence.lower() in refused.output.lower()
    assert sentence in capsys.readouterr().err
