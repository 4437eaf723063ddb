"""An installation by the commands of deploy/: it works, is healthy, grows, is restored and upgraded."""

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from cli.local.embedded.installation import Installation as Programs
from tests.support.checkout import STRUCTURES
from tests.support.installation import SECRETS, Installation, kubernetes_command
from tests.support.invariants import check_runs, read_row
from tests.support.namespaces import other_network
from tests.support.releases import unpack_previous
from tests.support.stack import TERMINAL
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

SERVERS = ("api", "worker", "structures", "reconciler", "flower")
PATIENCE = 60.0  # seconds
ONE_QUEUE = {"RUNYARD_STRUCTURE_QUEUE": "runs"}  # as a small installation has it


@pytest.fixture(scope="module")
def make_database(services):
    """Make an empty database with the two roles; all are dropped in the end."""
    made = []

    def make(name):
        services._create(name, template="template1")
        made.append(name)
        services.postgres.ensure_roles(name)
        return name

    yield make
    for name in made:
        services._execute("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="module")
def make_installation(services, make_database, tmp_path_factory):
    """Prepare an installation on a database of its own; nothing is started."""

    def make(name, **settings):
        return Installation(
            tmp_path_factory.mktemp(name),
            database_url=services.postgres.application_url_of(make_database(name)),
            migration_url=services.postgres.migration_url_of(name),
            redis_url=services.empty_redis(),
            structures=STRUCTURES,
            settings=settings,
        )

    return make


def migrate(installation):
    with installation.started("migrate") as migration:
        assert migration.process.wait(PATIENCE) == 0, migration.log


@pytest.fixture(scope="module")
def installation(make_installation):
    """A migrated installation."""
    installation = make_installation("installation")
    migrate(installation)
    return installation


@pytest.fixture(scope="module")
def start(installation):
    """Start a process of it; the worker for programs has the command of its pod."""
    commands = {"structures": kubernetes_command("structures")}
    with ExitStack() as exits:

        def start(name):
            return exits.enter_context(installation.started(name, command=commands.get(name)))

        yield start


@pytest.fixture(scope="module")
def running(installation, start):
    """All its processes, healthy."""
    started = {name: start(name) for name in SERVERS}
    for name, process in started.items():
        installation.wait_healthy(name, process)
    yield started
    assert {name: process.stop() for name, process in started.items()} == dict.fromkeys(SERVERS, 0)


@pytest.fixture(scope="module")
def client(running, installation):
    with installation.client() as client:
        yield client


LONG = "word " * 2_000  # what an assistant says back slowly


def await_running(client, path):
    wait_until(
        lambda: client.get(path).raise_for_status().json()["status"] == "RUNNING",
        timeout=PATIENCE,
        what=f"{path} to be RUNNING",
    )


def ended(client, path):
    def has_ended():
        run = client.get(path).raise_for_status().json()
        return run if run["status"] in TERMINAL else None

    return wait_until(has_ended, timeout=PATIENCE, pause=0.05, what=f"{path} to end")


@pytest.fixture(scope="module")
def assistant(client):
    return client.post("/api/assistants", json={"name": "Parrot"}).raise_for_status().json()["assistant_id"]


def create_run(client, assistant, **fields):
    answer = client.post(f"/api/assistants/{assistant}/runs", json={"input": "Hi", **fields})
    return answer.raise_for_status().json()["assistant_run_id"]


def create_program_run(client):
    greeting = [{"name": "GREETING", "value": "Good day"}]
    mine = {"name": "Mine", "code": {"default": {"folder": "mine"}}, "env_vars": greeting}
    structure = client.post("/api/structures", json=mine).raise_for_status().json()["structure_id"]
    answer = client.post(f"/api/structures/{structure}/runs", json={"args": ["Hi"]}).raise_for_status()
    return answer.json()["structure_run_id"]


def test_its_processes_execute_runs_of_both_kinds(installation, running, client, assistant):
    run = ended(client, f"/api/assistant-runs/{create_run(client, assistant)}")
    assert run["status"] == "SUCCEEDED"
    program = ended(client, f"/api/structure-runs/{create_program_run(client)}")
    assert program["status"] == "SUCCEEDED"
    for run_id, name in ((run["assistant_run_id"], "worker"), (program["structure_run_id"], "structures")):
        assert read_row(installation.database_url, run_id)["worker"].startswith(name)
    for name in ("api", "worker", "structures", "reconciler"):
        url = f"http://127.0.0.1:{installation.metrics_ports[name]}/metrics"
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {SECRETS['RUNYARD_METRICS_TOKEN']}"})
        assert answer.status_code == 200
        assert "runyard_build_info" in answer.text
    doctor = installation.run("runyard", "doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_a_structure_run_is_executed_by_the_worker_that_listens_to_its_queue_and_by_no_other(
    installation, running, start, client, assistant
):
    def runs_of_assistants_go_on():
        run = ended(client, f"/api/assistant-runs/{create_run(client, assistant)}")
        return run["status"] == "SUCCEEDED"

    assert running["structures"].stop() == 0
    structure = client.post("/api/structures", json={"name": "sample"}).raise_for_status().json()
    created = client.post(f"/api/structures/{structure['structure_id']}/runs", json={"args": ["Hello"]})
    run_id = created.raise_for_status().json()["structure_run_id"]
    path = f"/api/structure-runs/{run_id}"
    assert runs_of_assistants_go_on()
    assert client.get(path).raise_for_status().json()["status"] == "QUEUED"
    running["structures"] = start("structures")
    run = ended(client, path)
    assert (run["status"], run["output"]["value"]) == ("SUCCEEDED", "Hello")
    assert runs_of_assistants_go_on()
    assert run_id in running["structures"].log
    assert run_id not in running["worker"].log
    installation.wait_healthy("structures", running["structures"])


def test_a_worker_in_another_network_takes_runs_given_only_the_two_urls(
    installation, running, client, assistant, tmp_path
):
    with other_network() as network:
        urls = {
            name: network.url(installation.environment("worker")[name])
            for name in ("RUNYARD_DATABASE_URL", "RUNYARD_REDIS_URL")
        }
        path = {"PATH": installation.environment("worker")["PATH"]}
        command = network.command("runyard", "worker", "--processes=1")
        with (tmp_path / "worker.log").open("wb") as log:
            worker = subprocess.Popen(command, env={**path, **urls}, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(
                lambda: worker.poll() is not None or " ready." in (tmp_path / "worker.log").read_text(),
                timeout=PATIENCE,
                pause=0.1,
                what="the worker to be ready",
            )
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()

            def takes_one():
                run = ended(client, f"/api/assistant-runs/{create_run(client, assistant)}")
                assert run["status"] == "SUCCEEDED"
                process = read_row(installation.database_url, run["assistant_run_id"])["process"]
                return inode_of(int(process.rpartition("/")[2])) == network.inode

            wait_until(takes_one, timeout=PATIENCE, pause=0, what="a run to be taken there")
        finally:
            worker.terminate()
            assert worker.wait(PATIENCE) == 0


def inode_of(pid):
    """The network namespace of a process."""
    return (Path("/proc") / str(pid) / "ns" / "net").stat().st_ino


@pytest.fixture
def programs(tmp_path):
    """PostgreSQL's own programs, as the image of its server has them."""
    return Programs(None, purpose=tmp_path)


def test_a_backup_is_restored_and_its_runs_go_on(make_installation, services, programs, tmp_path):
    """As docs/operating/backup.md has it: roles, pg_restore, migrate, start; doctor finds no problem."""
    original = make_installation("original")
    migrate(original)
    dump = tmp_path / "runyard.dump"
    slow = {"RUNYARD_ECHO_WORDS_PER_SECOND": "2", "RUNYARD_CONCURRENCY": "1"}
    one_process = kubernetes_command("worker")
    with ExitStack() as exits:
        original.wait_healthy("api", exits.enter_context(original.started("api")))
        worker = exits.enter_context(original.started("worker", command=one_process, **slow))
        original.wait_healthy("worker", worker)
        client = exits.enter_context(original.client())
        assistant = client.post("/api/assistants", json={"name": "Parrot"}).json()["assistant_id"]
        done = create_run(client, assistant)
        assert ended(client, f"/api/assistant-runs/{done}")["status"] == "SUCCEEDED"
        events = client.get(f"/api/assistant-runs/{done}/events").raise_for_status().json()
        held = create_run(client, assistant, input=LONG)
        await_running(client, f"/api/assistant-runs/{held}")
        waiting = create_run(client, assistant)
        source = services.postgres.database_url("original")
        programs.run("pg_dump", ["--format=custom", f"--file={dump}", f"--dbname={source}"])
        key = client.headers["Authorization"]
    restored = make_installation("restored", **ONE_QUEUE)
    target = services.postgres.database_url("restored")
    programs.run("pg_restore", ["--exit-on-error", f"--dbname={target}", str(dump)])
    migrate(restored)
    with ExitStack() as exits:
        for name in ("api", "worker", "reconciler"):
            restored.wait_healthy(name, exits.enter_context(restored.started(name)))
        client = exits.enter_context(restored.client())
        client.headers["Authorization"] = key  # of the backup
        assert client.get(f"/api/assistant-runs/{done}/events").raise_for_status().json() == events
        assert ended(client, f"/api/assistant-runs/{waiting}")["status"] == "SUCCEEDED"
        lost = ended(client, f"/api/assistant-runs/{held}")
        assert (lost["status"], lost["status_detail"]["reason"]) == ("ERROR", "WorkerLost")
        doctor = restored.run("runyard", "doctor")
        assert doctor.returncode == 0, doctor.stdout
        check_runs(restored.database_url, [done, held, waiting])


@pytest.mark.timeout(600)
def test_two_releases_meet_in_an_upgrade(make_installation, tmp_path):
    """As docs/operating/upgrade.md has it: migrate under load, then replace one process after the other.

    The new API feeds the old worker, then the old API the new worker. No run fails, and none is charged.
    """
    new = make_installation("upgraded", RUNYARD_WORKER_QUEUES="runs,structures")
    old = new.of_release(unpack_previous(tmp_path / "old"))
    one_process = kubernetes_command("worker")
    old_name = f"old@{socket.gethostname()}"  # by which older health checks know it
    migrate(old)
    with ExitStack() as exits:

        def start(release, name, **options):
            started = exits.enter_context(release.started(name, **options))
            release.wait_healthy(name, started)
            return started

        def start_worker(release, name, words_per_second):
            settings = {"RUNYARD_WORKER_NAME": name, "RUNYARD_ECHO_WORDS_PER_SECOND": words_per_second}
            return start(release, "structures", command=one_process, **settings)

        old_api, old_reconciler = start(old, "api"), start(old, "reconciler")
        old_worker = start_worker(old, old_name, "2")
        to_old = exits.enter_context(old.client())
        assistant = to_old.post("/api/assistants", json={"name": "Parrot"}).json()["assistant_id"]
        held = create_run(to_old, assistant, input=LONG)
        await_running(to_old, f"/api/assistant-runs/{held}")
        load = []
        with new.started("migrate") as migration:

            def is_migrated():
                load.append(create_run(to_old, assistant))
                return migration.process.poll() is not None

            wait_until(is_migrated, timeout=PATIENCE, pause=0.1, what="the migration to end")
        assert migration.process.returncode == 0, migration.log

        start(new, "api")
        to_new = exits.enter_context(new.client())
        to_new.headers["Authorization"] = to_old.headers["Authorization"]
        for run in load:
            assert ended(to_new, f"/api/assistant-runs/{run}")["status"] == "SUCCEEDED"
        runs = meet(new, to_new, to_old, assistant, worker="old@")

        start_worker(new, "new", "200")
        start(new, "reconciler")
        assert (old_worker.stop(), old_reconciler.stop()) == (0, 0)
        assert ended(to_old, f"/api/assistant-runs/{held}")["status"] == "SUCCEEDED"
        row = read_row(new.database_url, held)
        assert (row["worker"], row["attempt"], row["losses"]) == ("new", 2, 0)
        check_same_events(to_old, to_new, f"/api/assistant-runs/{held}")
        runs += meet(new, to_old, to_new, assistant, worker="new")

        assert old_api.stop() == 0
        doctor = new.run("runyard", "doctor")
        assert doctor.returncode == 0, doctor.stdout
        check_runs(new.database_url, [held, *load, *runs])


def meet(installation, caller, other, assistant, *, worker):
    """Execute runs of one release's API on the worker of another, and cancel one by the other's API."""
    run = create_run(caller, assistant, input="one two three")
    path = f"/api/assistant-runs/{run}"
    live = other.get(f"{path}/events/stream").raise_for_status().text
    assert ended(other, path)["status"] == "SUCCEEDED"
    assert read_row(installation.database_url, run)["worker"].startswith(worker)
    assert [int(number) for number in re.findall(r"^id: ?(\d+)$", live, re.MULTILINE)] == check_same_events(
        caller, other, path
    )
    program = create_program_run(caller)
    assert ended(other, f"/api/structure-runs/{program}")["status"] == "SUCCEEDED"
    assert read_row(installation.database_url, program)["worker"].startswith(worker)
    cancelled = create_run(caller, assistant, input=LONG * 10)
    path = f"/api/assistant-runs/{cancelled}"
    await_running(caller, path)
    assert other.post(f"{path}/cancel").raise_for_status().json()["status"] == "CANCELLED"
    wait_until(
        lambda: caller.get(path).json()["status_detail"]["stopped_at"],
        timeout=PATIENCE,
        what=f"{path} to stop",
    )
    return [run, program, cancelled]


def check_same_events(one, other, path):
    """Fail unless both releases list the same events, numbered without holes; return their numbers."""
    pages = [client.get(f"{path}/events?limit=1000").raise_for_status().json() for client in (one, other)]
    assert pages[0]["events"] == pages[1]["events"]
    total = pages[0]["total_count"]
    assert total == len(pages[0]["events"]) > 0
    return list(range(total))
