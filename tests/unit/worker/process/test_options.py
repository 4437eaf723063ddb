"""The command lines of a worker and of its processes."""

import uuid

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from shared.workers import Pool, check_name, default_name
from worker.process.options import ProcessOptions, SupervisorOptions

SETTINGS = Settings.model_validate(
    {
        "database_url": "postgresql://nowhere/none",
        "redis_url": "redis://nowhere/0",
        "concurrency": 7,
        "worker_queues": "runs,other",
    }
)

HOLDER = uuid.uuid4()


@pytest.mark.parametrize("queues", ["a,b", "-a"])
def test_process_reads_what_its_supervisor_writes(queues: str) -> None:
    options = ProcessOptions("name@host", Pool.PREFORK, 3, queues, HOLDER, supervisor_link=5)
    assert ProcessOptions.parse(options.arguments()) == options


def test_settings_are_the_defaults() -> None:
    options = SupervisorOptions.parse(SETTINGS, [])
    assert (options.pool, options.concurrency, options.queues) == (Pool.THREADS, 7, "runs,other")


@pytest.mark.parametrize(("pool", "processes"), [("threads", 3), ("prefork", 1)])
def test_a_worker_has_a_process_per_processor_or_one_parent(
    monkeypatch: pytest.MonkeyPatch, pool: str, processes: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5})
    assert SupervisorOptions.parse(SETTINGS, [f"--pool={pool}"]).processes == processes
    assert SupervisorOptions.parse(SETTINGS, [f"--pool={pool}", "--processes=2"]).processes == 2


def test_as_many_prefork_children_as_processors_unless_told() -> None:
    assert SupervisorOptions.parse(SETTINGS, ["--pool", "prefork"]).concurrency < 1000
    assert SupervisorOptions.parse(SETTINGS, ["--pool=prefork", "--concurrency=3"]).concurrency == 3


def test_the_one_process_of_a_worker_has_its_name_and_a_successor_beside_it_a_number() -> None:
    options = SupervisorOptions.parse(SETTINGS, ["--name", "blue", "--processes=1"])
    assert [options.of_process(number, HOLDER).name for number in (1, 2)] == ["blue", "blue-2"]


def test_of_several_processes_each_has_a_number() -> None:
    options = SupervisorOptions.parse(SETTINGS, ["--name", "w@here", "--processes", "2"])
    assert [options.of_process(number, HOLDER).name for number in (1, 2)] == ["w-1@here", "w-2@here"]


def test_a_worker_without_a_name_is_called_after_its_machine_whatever_its_process() -> None:
    assert SupervisorOptions.parse(SETTINGS, []).name == default_name()
    assert check_name(default_name())


def test_the_setting_names_it_and_its_command_line_goes_before() -> None:
    named = SETTINGS.model_copy(update={"worker_name": "green"})
    assert SupervisorOptions.parse(named, []).name == "green"
    assert SupervisorOptions.parse(named, ["--name=blue"]).name == "blue"


BAD_NAMES = ["", "a b", "a\nb", "a,b", "@host", "a@", "a@b@c", "-a", "external", "x" * 65, "ü", "(no worker)"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_none_is_refused_in_one_sentence(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        SupervisorOptions.parse(SETTINGS, [f"--name={name}"])
    assert "a worker's name has" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(ValidationError, match="a worker's name has"):
        Settings.model_validate({"database_url": "", "redis_url": "", "worker_name": name})


@pytest.mark.parametrize("queues", ["", " ", " , "])
def test_no_queue_at_all_is_refused_rather_than_that_of_the_setting_taken(
    queues: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        SupervisorOptions.parse(SETTINGS, [f"--queues={queues}"])
    assert "must name at least one queue" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--processes", "0"], ["--concurrency", "x"], ["--pool", "gevent"]])
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        SupervisorOptions.parse(SETTINGS, arguments)
    assert "usage" in capsys.readouterr().err
