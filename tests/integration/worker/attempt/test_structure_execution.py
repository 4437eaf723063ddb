"""One attempt of a structure run, on the real database, with real programs."""

import dataclasses
import os
import tempfile
import threading
import uuid
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select

from shared.db import unit_of_work
from shared.errors import ConflictError
from shared.keys.principal import Principal, RunAttempt
from shared.keys.service import create_run_key, find_principal
from shared.lifecycle import RunKind, RunStatus, Trigger
from shared.models import ApiKey, Run
from shared.organizations.admin import remove_member
from shared.runs import moves, service, transitions
from shared.structures.reports import Report, post_events, post_spans, read_lines
from shared.structures.sandbox import Choice
from tests.support.dispatching import RecordingDispatcher
from tests.support.faults import of_program
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import context
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute
from worker.cancellation import StopReason
from worker.executors.program import executor as structure_executor

FINISH = "FinishStructureRunEvent"


@pytest.fixture
def folders(tmp_path):
    """A directory of structures: one that executes its first argument, and some that cannot be."""
    for name, config, source in (
        ("source", "run: {main_file: main.py}", "import sys\nexec(sys.argv[1])"),
        ("no-main", "run: {}", ""),
        ("outside", "run: {main_file: ../source/main.py}", ""),
        ("other", "runtime: node\nrun: {main_file: main.py}", ""),
        ("no-mapping", "[]", ""),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "structure_config.yaml").write_text(config)
        (folder / "main.py").write_text(source)
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def setting_overrides(folders):
    return {
        "cancel_grace": timedelta(seconds=1),
        "heartbeat": timedelta(milliseconds=200),
        "structures_dir": folders,
        "structure_home": folders / "homes",
        "structure_callables": "json:dumps",
        "structure_env": "OPENAI_API_KEY,REGION",
    }


@pytest.fixture
def lines(committed_sessions):
    def lines(run):
        with unit_of_work(committed_sessions) as session:
            return list(read_lines(session, session.get_one(Run, run.id), offset=0, limit=100).lines)

    return lines


@pytest.fixture
def make(factories, committed_sessions):
    """A run of code; of the folder that executes its first argument unless other code is given."""

    def make(*args, default=None, code=None, structure=None, **request):
        code = code or {"default": {"folder": "source"} if default is None else default}
        made = factories.structure(code=code, **(structure or {}))
        return factories.structure_run(structure=made, args=list(args), **request)

    return make


@pytest.fixture
def attempt(resources):
    return lambda run, slot=None: execute(resources, run.id, 1, slot or FakeSlot())


def test_exit_code_0_is_a_success_with_its_output_kept(make, attempt, reload, lines):
    run = make("print('one'); print('two')")
    assert attempt(run) is Ending.SUCCEEDED
    after = reload(run)
    assert (after.status, after.status_detail["exit_code"]) == (RunStatus.SUCCEEDED, 0)
    assert lines(run) == ["one", "two"]


@pytest.mark.parametrize(
    ("end", "ending"),
    [(service.delete, Ending.LOST), (service.cancel, Ending.CANCELLED)],
    ids=["delete", "cancel"],
)
def test_a_run_that_ends_before_its_program_has_a_key_leaves_none(
    make, attempt, factories, committed_sessions, monkeypatch, end, ending
):
    run = make("print('one')")

    def create_late(session, held):
        with unit_of_work(committed_sessions) as other:
            principal = factories.default_principal()
            end(other, RecordingDispatcher(), principal, run.id, kind=RunKind.STRUCTURE)
        return create_run_key(session, held)

    monkeypatch.setattr(context, "create_run_key", create_late)
    with structlog.testing.capture_logs() as lines:
        assert attempt(run) is ending
    assert [line for line in lines if line["log_level"] in {"error", "critical"}] == []
    with unit_of_work(committed_sessions) as session:
        assert session.scalars(select(ApiKey).where(ApiKey.run_id == run.id)).all() == []
        left = session.get(Run, run.id)
        assert left is None or left.status_detail["stopped_how"] == "cooperative"


def test_another_exit_code_is_a_failure(make, attempt, reload, lines):
    run = make("raise SystemExit('no')")
    assert attempt(run) is Ending.FAILED
    assert reload(run).status_detail == {
        "reason": "StructureFailed",
        "message": "The program exited with code 1. It said last: no",
        "exit_code": 1,
    }
    assert lines(run) == ["no"]


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ({"folder": "missing"}, "no folder 'missing'"),
        ({"folder": "empty"}, "holds no structure_config.yaml"),
        ({"folder": "no-main"}, "main_file"),
        ({"folder": "outside"}, "no file '../source/main.py'"),
        ({"folder": "other"}, "runtime 'node'"),
        ({"folder": "no-mapping"}, "no mapping"),
        ({"callable": "os:system"}, "not among the callables"),
    ],
    ids=str,
)
def test_what_cannot_be_executed_is_an_error_that_says_why(make, attempt, reload, default, said):
    run = make(default=default)
    assert attempt(run) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InvalidConfiguration")
    assert said in after.status_detail["message"]


def test_code_of_elsewhere_and_secrets_of_elsewhere_are_errors_that_say_so(make, attempt, reload):
    data_lake = make(code={"data_lake": {"bucket_id": "b", "asset_path": "p"}})
    secret = make("", env_vars=[{"name": "A", "value": "id", "source": "secret_ref"}])
    for run, said in ((data_lake, "not executed here"), (secret, "secrets are not kept here")):
        assert attempt(run) is Ending.BROKEN
        assert said in reload(run).status_detail["message"]


@pytest.mark.parametrize("default", [{}, {"folder": "source"}], ids=["sample", "folder"])
@pytest.mark.parametrize("of", ["run", "structure"])
def test_a_variable_from_before_the_rule_that_steers_an_interpreter_is_an_error_that_names_it(
    make, attempt, reload, tmp_path, default, of
):
    """The attack of old, on rows that no API has checked: a command in BROWSER, started by a warning."""
    flag = tmp_path / "flag"
    variables = [
        {"name": "PYTHONWARNINGS", "value": "all:0:antigravity.x:0:0"},
        {"name": "BROWSER", "value": f"/bin/sh -c 'touch {flag}' %s"},
    ]
    given = {"env_vars": variables} if of == "run" else {"structure": {"env_vars": variables}}
    run = make("", default=default, **given)
    assert attempt(run) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InvalidConfiguration")
    assert "PYTHONWARNINGS" in after.status_detail["message"]
    assert not flag.exists()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that an operator allows, which defines some functions and imports others."""
    (tmp_path / "operators_module.py").write_text(
        "import os, subprocess\n"
        "from json import loads\n"
        "from os import system\n"
        "def own(*args): print(*args)\n"
        "async def later(*args): print(*args)\n"
        "def _private(): return 'private'\n"
        "class Thing: pass\n"
    )
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "operators_module"


@pytest.fixture
def with_settings(resources, attempt):
    """Attempt a run by other settings."""

    def with_settings(run, **values):
        changed = dataclasses.replace(resources, settings=resources.settings.model_copy(update=values))
        return execute(changed, run.id, 1, FakeSlot())

    return with_settings


@pytest.mark.parametrize(
    "name", ["system", "loads", "os", "subprocess", "_private", "Thing", "missing", "__import__"]
)
def test_a_module_allows_what_it_defines_and_not_what_it_imports(make, with_settings, reload, module, name):
    run = make("true", default={"callable": f"{module}:{name}"})
    assert with_settings(run, structure_callables=module) in {Ending.BROKEN, Ending.FAILED}
    assert reload(run).output is None


@pytest.mark.parametrize("name", ["own", "later"])
def test_a_function_that_a_module_defines_is_called(make, with_settings, lines, module, name):
    """What it returns is nothing, for there is no API about to take it."""
    run = make("a", "b", default={"callable": f"{module}:{name}"})
    assert with_settings(run, structure_callables=module) is Ending.SUCCEEDED
    assert lines(run) == ["a b"]


@pytest.mark.parametrize("kind", ["folder", "callable"])
def test_what_is_for_some_organizations_is_not_there_for_others(make, with_settings, reload, kind):
    default = {"folder": "source"} if kind == "folder" else {"callable": "json:dumps"}
    run = make("print('on')", default=default)
    name = "source" if kind == "folder" else "json:dumps"
    setting = f"structure_{kind}s"
    assert with_settings(run, **{setting: f"{name}@{uuid.uuid4()}"}) is Ending.BROKEN
    assert reload(run).status_detail["reason"] == "InvalidConfiguration"
    again = make("print('on')", default={"folder": "source"})
    given = f"source@{uuid.uuid4()}+{again.organization_id}"
    assert with_settings(again, structure_folders=given) is Ending.SUCCEEDED


def test_without_a_sandbox_a_folder_is_not_executed_and_the_error_says_what_to_do(
    make, with_settings, reload, monkeypatch
):
    monkeypatch.setattr(
        structure_executor, "choose", lambda _: Choice(None, "No sandbox: install bubblewrap.")
    )
    run = make("print('on')")
    assert with_settings(run) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InvalidConfiguration")
    assert "install bubblewrap" in after.status_detail["message"]


def test_a_run_whose_creator_has_left_is_an_error_that_says_so(make, attempt, reload, committed_sessions):
    run = make("")
    with unit_of_work(committed_sessions) as session:
        remove_member(session, run.created_by)
    assert attempt(run) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InvalidConfiguration")
    assert "no longer belongs to its organization" in after.status_detail["message"]


def test_a_dead_shim_is_not_the_programs_failure(make, attempt, reload, lines):
    run = make("print('on', flush=True); import time; time.sleep(60)")

    def kill_the_shim():
        wait_until(lambda: lines(run), timeout=60, what="the program to be on")
        (shim,) = [one for one in of_program(str(run.id)) if one.ppid() == os.getpid()]
        shim.kill()

    killer = threading.Thread(target=kill_the_shim)
    killer.start()
    assert attempt(run) is Ending.BROKEN
    killer.join()
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InternalError")
    assert "the program was ended" in after.status_detail["message"]


def test_a_worker_without_a_place_for_the_program_is_not_its_failure(
    make, attempt, reload, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    run = make("")
    assert attempt(run) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "InternalError")
    assert str(tmp_path) not in after.status_detail["message"]


def test_values_of_variables_do_not_show_in_the_output_whatever_their_names(make, attempt, lines):
    pem = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----\n"
    source = "import os; print('it is', *map(os.environ.get, ['DB_PASS', 'PEM', 'GT_CLOUD_API_KEY']))"
    run = make(
        source,
        structure={"env_vars": [{"name": "DB_PASS", "value": "hush-hush"}]},
        env_vars=[{"name": "PEM", "value": pem}],
    )
    attempt(run)
    assert lines(run) == ["it is [DB_PASS] [PEM]", "[PEM]", "[PEM]", " [GT_CLOUD_API_KEY]"]


def test_a_secret_of_the_worker_that_a_program_is_given_does_not_show(make, attempt, lines, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush-hush")
    monkeypatch.setenv("REGION", "somewhere")
    run = make("import os; print(os.environ['OPENAI_API_KEY'], os.environ['REGION'])")
    attempt(run)
    assert lines(run) == ["[OPENAI_API_KEY] somewhere"]


def test_a_path_for_programs_may_be_relative_to_the_worker(make, with_settings, lines, folders, monkeypatch):
    """As the directory of structures may."""
    (folders / "models").mkdir()
    (folders / "models" / "weights").write_text("heavy")
    folders.chmod(0o755)
    monkeypatch.chdir(folders)
    run = make(f"print(open({str(folders / 'models' / 'weights')!r}).read())")
    assert with_settings(run, structure_paths="models") is Ending.SUCCEEDED
    assert lines(run) == ["heavy"]


def test_the_runs_own_variables_override_the_structures(make, attempt, lines):
    run = make(
        "import os; print(os.environ['A'])",
        structure={"env_vars": [{"name": "A", "value": "structure"}]},
        env_vars=[{"name": "A", "value": "run"}],
    )
    attempt(run)
    assert lines(run) == ["run"]


def test_the_key_is_good_for_its_attempt_alone(committed_sessions, factories):
    """Promise 3: only one attempt can write, also over the API."""
    run = factories.structure_run(status=RunStatus.RUNNING)
    with unit_of_work(committed_sessions) as session:
        secret = create_run_key(session, session.get_one(Run, run.id))
        assert find_principal(session, secret).run == RunAttempt(run.id, 1)
        transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
        assert find_principal(session, secret) is None
        moves.claim(
            session, RecordingDispatcher(), run.id, attempt=2, worker="w", lease_ttl=timedelta(seconds=9)
        )
        assert find_principal(session, secret) is None


def test_a_key_that_is_still_cached_writes_nothing_once_its_attempt_is_over(
    committed_sessions, factories, dispatcher
):
    """Promise 3: the fence does not trust the cache of keys."""
    run = factories.structure_run(status=RunStatus.RUNNING)
    stale = Principal(run.organization_id, run.created_by, run.id, "x", RunAttempt(run.id, 1))
    with unit_of_work(committed_sessions) as session:
        transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
        moves.claim(
            session, RecordingDispatcher(), run.id, attempt=2, worker="w", lease_ttl=timedelta(seconds=9)
        )
    report = Report(FINISH, {"output_task_output": {"type": "TextArtifact", "value": "late"}})
    with pytest.raises(ConflictError), unit_of_work(committed_sessions) as session:
        post_events(session, dispatcher, stale, run.id, [report], largest=1000)
    with pytest.raises(ConflictError), unit_of_work(committed_sessions) as session:
        post_spans(session, stale, run.id, [{"span_id": "late"}])
    with unit_of_work(committed_sessions) as session:
        assert session.get_one(Run, run.id).output is None


def test_an_ended_run_has_no_key(make, attempt, committed_sessions):
    run = make("")
    attempt(run)
    with unit_of_work(committed_sessions) as session:
        assert session.query(ApiKey).filter(ApiKey.run_id.isnot(None)).count() == 0


@pytest.fixture
def in_thread(attempt):
    """Execute a run in a thread."""
    threads = []

    def start(run, slot):
        endings = []
        thread = threading.Thread(target=lambda: endings.append(attempt(run, slot)))
        thread.start()
        threads.append(thread)

        def join():
            thread.join(60)
            return endings[0]

        return join

    yield start
    for thread in threads:
        thread.join(60)


FOREVER = "print('on', flush=True); import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(15, signal.SIG_IGN); {FOREVER}"


@pytest.mark.parametrize(("source", "how"), [(FOREVER, "cooperative"), (STUBBORN, "killed")])
def test_a_cancel_stops_the_program_and_the_receipt_says_how(
    make, in_thread, reload, lines, committed_sessions, dispatcher, source, how
):
    """The worker finds out by its heartbeat: the revoke is sent nowhere."""
    run, slot = make(source), FakeSlot()
    join = in_thread(run, slot)
    wait_until(lambda: lines(run), timeout=60, what="the program to be on")
    with unit_of_work(committed_sessions) as session:
        moves.cancel(session, dispatcher, run.id, requested_by="me")
    assert join() is Ending.CANCELLED
    assert reload(run).status_detail["stopped_how"] == how


def test_a_drained_worker_gives_the_run_back_without_its_output(make, in_thread, reload, lines):
    run, slot = make(FOREVER), FakeSlot()
    join = in_thread(run, slot)
    wait_until(lambda: lines(run), timeout=60, what="the program to be on")
    slot.token.cancel(StopReason.DRAINED)
    assert join() is Ending.REQUEUED
    after = reload(run)
    assert (after.status, after.losses, after.output) == (RunStatus.QUEUED, 0, None)


def test_the_log_of_a_program_that_is_begun_again_says_where(make, in_thread, resources, lines):
    run, slot = make(FOREVER), FakeSlot()
    join = in_thread(run, slot)
    wait_until(lambda: lines(run), timeout=60, what="the program to be on")
    slot.token.cancel(StopReason.DRAINED)
    assert join() is Ending.REQUEUED
    again = FakeSlot()
    thread = threading.Thread(target=lambda: execute(resources, run.id, 2, again))
    thread.start()
    wait_until(lambda: len(lines(run)) >= 3, timeout=60, what="the program to be on again")
    again.token.cancel(StopReason.DRAINED)
    thread.join(60)
    assert lines(run) == ["on", "[Begun again, as attempt 2: the lines above do not count.]", "on"]


def test_one_that_takes_too_long_is_ended(make, in_thread, reload):
    run, slot = make(FOREVER, limits={"max_duration": timedelta(seconds=1)}), FakeSlot()
    assert in_thread(run, slot)() is Ending.BROKEN
    assert reload(run).status_detail["reason"] == "TimedOut"


def test_the_home_that_stays_is_that_of_the_organization(make, attempt, lines, folders):
    run = make("import os; print(os.environ['HOME'])")
    assert attempt(run) is Ending.SUCCEEDED
    assert lines(run) == [str(folders / "homes" / str(run.organization_id))]


NEST = """
import os, tempfile
os.chdir(tempfile.gettempdir())
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
"""


def test_however_deep_its_files_are_nothing_of_a_run_is_left(make, attempt, reload, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = make(NEST)
    assert attempt(run) is Ending.SUCCEEDED
    assert (reload(run).status, reload(run).status_detail["reason"]) == (RunStatus.SUCCEEDED, "Completed")
    assert list(tmp_path.glob("runyard-*")) == []
