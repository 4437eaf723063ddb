"""`runyard drain` with real workers on a real Redis."""

import subprocess
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from cli import main
from cli.commands.drain import (
    AmbiguousWorkerError,
    NoRedisKnownError,
    NoWorkerError,
    RedisRefusedError,
    StillThereError,
    UnknownWorkerError,
    Workers,
)
from shared.processes import ports
from tests.support.pool_bench import WORKER, PoolBench, eventually
from tests.support.services import TestServices
from worker.cancellation import StopReason
from worker.process.drain import EX_BROKEN, Drain
from worker.process.supervisor import EX_DRAINED

Runyard = Callable[..., Result]


@pytest.fixture
def bench(services: TestServices, tmp_path: Path) -> Generator[PoolBench]:
    bench = PoolBench(services.settings(redis_url=services.empty_redis()), tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def drain(bench: PoolBench) -> Runyard:
    """Call the command on the bench's Redis; errors are raised."""
    runner = CliRunner(env={"RUNYARD_REDIS_URL": bench.env["RUNYARD_REDIS_URL"]})

    def drain(*arguments: str) -> Result:
        result = runner.invoke(main.app, ["drain", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return drain


def await_ready(bench: PoolBench, processes: int = 2) -> None:
    eventually(lambda: bench.log.count("@test ready.") == processes, "the processes to be ready")


def check_ended(supervisor: subprocess.Popen[bytes], born: list[psutil.Process], bench: PoolBench) -> None:
    """Fail unless the worker ended in good order and started nobody in place of those that did."""
    assert supervisor.wait(60) == 0
    assert not any(process.is_running() for process in born)
    assert bench.log.count("process started") == len(born)


def test_all_of_a_worker_ends_and_is_not_started_again(bench: PoolBench, drain: Runyard) -> None:
    with bench.supervisor(WORKER, "--processes=2") as supervisor:
        await_ready(bench)
        born = psutil.Process(supervisor.pid).children()
        result = drain("--all", "--wait", "15")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == ["s-1@test\tdraining", "s-2@test\tdraining"]
        assert "2 workers gone." in result.stderr
        check_ended(supervisor, born, bench)


@pytest.mark.full_length
def test_a_process_that_is_named_is_followed_by_its_worker(bench: PoolBench, drain: Runyard) -> None:
    with bench.supervisor(WORKER, "--processes=2") as supervisor:
        await_ready(bench)
        born = psutil.Process(supervisor.pid).children()
        assert drain("s-2@test").stdout.splitlines() == ["s-2@test\tdraining"]
        check_ended(supervisor, born, bench)


@pytest.mark.full_length
def test_a_sibling_that_drains_is_not_hurried(bench: PoolBench, drain: Runyard) -> None:
    bench.env["RUNYARD_DRAIN_GRACE"] = "60"
    with bench.supervisor(WORKER, "--processes=2", "--concurrency=1") as supervisor:
        await_ready(bench)
        born = psutil.Process(supervisor.pid).children()
        task = bench.start_task("wait", 15)  # two commands take as long on a slow machine
        drain("--all")
        drain("--all")
        eventually(lambda: "the others follow" in bench.log, "the idle process to go")
        bench.heard("finished", task.id)
        check_ended(supervisor, born, bench)


@pytest.mark.full_length
def test_another_worker_is_left_alone(bench: PoolBench, drain: Runyard) -> None:
    with bench.worker(name="a") as one, bench.worker(name="b") as other:
        assert drain("a@test", "--wait", "15").exit_code == 0
        assert one.wait(60) == 0
        assert bench.heard("finished", bench.send("nothing")).pid == other.pid


def test_without_a_name_it_lists_and_drains_nobody(bench: PoolBench, drain: Runyard) -> None:
    with bench.worker(name="a") as process:
        result = drain()
        assert (result.exit_code, result.stdout) == (2, "a@test\n")
        assert "--all" in result.stderr
        assert bench.heard("finished", bench.send("nothing")).pid == process.pid


def test_an_unknown_name_drains_nobody(bench: PoolBench, drain: Runyard) -> None:
    with bench.worker(name="a") as process:
        with pytest.raises(
            UnknownWorkerError, match=r"No worker answers to b@test.* Workers that answer: a@test\."
        ):
            drain("a@test", "b@test")
        assert bench.heard("finished", bench.send("nothing")).pid == process.pid
        assert "drain begun" not in bench.log


@pytest.mark.full_length
def test_a_name_that_two_answer_to_drains_neither(bench: PoolBench, drain: Runyard) -> None:
    with bench.worker(name="a"), bench.worker(name="a"):
        with pytest.raises(
            AmbiguousWorkerError, match=r"Several workers answer to a@test; nothing was drained"
        ):
            drain("a@test")
        assert "drain begun" not in bench.log


@pytest.mark.full_length
def test_a_wait_is_for_the_process_and_not_for_its_name(bench: PoolBench, drain: Runyard) -> None:
    workers = Workers(bench.app)
    with bench.worker(name="a") as first:
        told = workers.drain(["a@test"])
        assert first.wait(60) == 0
    with bench.worker(name="a"):
        workers.wait_gone(told, 5)
        assert workers.answering(["a@test"])


@pytest.mark.full_length
@pytest.mark.parametrize("missed", [["a@test"], ["a@test", "b@test"]])
def test_a_worker_that_misses_the_first_question_is_drained(bench: PoolBench, monkeypatch, missed) -> None:
    """As one that is just connecting: Redis keeps no ping."""
    ask, questions = Workers._ask, []

    def asked(self, command, *arguments, **options):
        questions.append(command)
        answers = ask(self, command, *arguments, **options)
        return [(name, said) for name, said in answers if len(questions) > 1 or name not in missed]

    monkeypatch.setattr(Workers, "_ask", asked)
    workers = Workers(bench.app)
    with bench.worker(name="a") as one, bench.worker(name="b") as other:
        assert workers.drain(["a@test", "b@test"]).keys() == {"a@test", "b@test"}
        assert (one.wait(60), other.wait(60)) == (0, 0)


def test_a_wait_that_is_too_short_says_who_is_still_there(bench: PoolBench, drain: Runyard) -> None:
    bench.env["RUNYARD_DRAIN_GRACE"] = "600"
    with bench.worker(name="a"):
        bench.start_task("wait", 60)
        with pytest.raises(StillThereError, match=r"Still there after 1 s: a@test\."):
            drain("a@test", "--wait", "1")


@pytest.mark.parametrize("arguments", [[], ["--all"]])
def test_where_nobody_answers_it_says_so(
    drain: Runyard, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.commands.drain.ANSWER_TIMEOUT", 0.05)
    with pytest.raises(NoWorkerError, match="No worker answers"):
        drain(*arguments)


def test_names_and_all_together_are_a_wrong_command_line(drain: Runyard) -> None:
    assert drain("a@test", "--all").exit_code == 2


def test_a_redis_that_is_away_is_an_error() -> None:
    url = f"redis://127.0.0.1:{ports.free_port()}/0"
    result = CliRunner(env={"RUNYARD_REDIS_URL": url}).invoke(main.app, ["drain", "--all"])
    assert isinstance(result.exception, RedisRefusedError)


def test_without_an_address_it_asks_for_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(main.app, ["drain", "--all", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, NoRedisKnownError)


@pytest.mark.full_length
def test_a_signal_after_a_drain_hurries_nobody(bench: PoolBench, drain: Runyard) -> None:
    """As when Kubernetes stops a container whose worker is told to drain beforehand."""
    bench.env["RUNYARD_DRAIN_GRACE"] = "600"
    with bench.supervisor() as supervisor:
        await_ready(bench, processes=1)
        task = bench.start_task("wait", 3)
        drain("--all")
        supervisor.terminate()
        bench.heard("finished", task.id)
        assert supervisor.wait(60) == 0


class IdlePool:
    """No runs."""

    def stop_runs(self, reason: StopReason) -> None:
        raise AssertionError(reason)

    def wait_idle(self, timeout: float) -> bool:
        del timeout
        return True


class RecordingControl:
    """Remembers the exit code."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.exited = threading.Event()

    def close_intake(self) -> None:
        self.codes.clear()

    def exit_gracefully(self, code: int) -> None:
        self.codes.append(code)

    def exit_now(self, code: int) -> None:
        self.codes.append(code)
        self.exited.set()

    def ask_for_successor(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(("is_asked", "code"), [(True, EX_DRAINED), (False, EX_BROKEN)])
def test_a_process_that_celery_gives_up_does_not_pass_for_drained(
    services: TestServices, *, is_asked: bool, code: int
) -> None:
    """Else its supervisor, instead of replacing it, would stop the whole worker."""
    control = RecordingControl()
    drain = Drain(IdlePool(), control, services.settings())
    drain.start()
    if is_asked:
        drain.request()
    drain.complete()
    drain.order()  # the echo, which is swallowed
    drain.order()
    assert control.exited.wait(60)
    assert set(control.codes) == {code}
