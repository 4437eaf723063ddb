"""The command lines of a worker and of its processes."""

import pytest

from shared.settings import Settings
from worker.options import Pool, ProcessOptions, SupervisorOptions

SETTINGS = Settings.model_validate(
    {
        "database_url": "postgresql://nowhere/none",
        "redis_url": "redis://nowhere/0",
        "concurrency": 7,
        "queues": "runs,other",
    }
)


def test_process_reads_what_its_supervisor_writes() -> None:
    options = ProcessOptions("name@host", Pool.PREFORK, 3, "a,b", lifeline=5)
    assert ProcessOptions.parse(options.arguments()) == options


def test_settings_are_the_defaults() -> None:
    options = SupervisorOptions.parse(SETTINGS, [])
    assert (options.processes, options.pool, options.concurrency) == (1, Pool.THREADS, 7)
    assert options.queues == "runs,other"


def test_as_many_prefork_children_as_processors_unless_told() -> None:
    assert SupervisorOptions.parse(SETTINGS, ["--pool", "prefork"]).concurrency < 1000
    assert SupervisorOptions.parse(SETTINGS, ["--pool=prefork", "--concurrency=3"]).concurrency == 3


def test_each_process_has_a_name_of_its_own() -> None:
    options = SupervisorOptions.parse(SETTINGS, ["--hostname", "w@here"])
    assert [options.of_process(number).name for number in (1, 2)] == ["w-1@here", "w-2@here"]


@pytest.mark.parametrize("arguments", [["--processes", "0"], ["--concurrency", "x"], ["--pool", "gevent"]])
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        SupervisorOptions.parse(SETTINGS, arguments)
    assert "usage" in capsys.readouterr().err
