"""What people get wrong, and what they are told: one sentence, no traceback, exit code 1 or 2."""

import os
import socket
from dataclasses import dataclass, field

import pytest

from cli.local.dev_file import DevFile
from cli.local.processes.lock import DirectoryLock

pytestmark = pytest.mark.timeout(300)

EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it
AWAY = "127.0.0.1:1"
NO_SERVERS = {
    "RUNYARD_DATABASE_URL": f"postgresql://u:hidden@{AWAY}/d",
    "RUNYARD_REDIS_URL": f"redis://:hidden@{AWAY}",
}
OF_API = {"RUNYARD_API_URL": f"http://{AWAY}", "RUNYARD_API_KEY": "ry_hidden"}


@dataclass(frozen=True)
class Mistake:
    """A command line with its environment, and a part of what is said about it."""

    words: str
    said: str
    env: dict = field(default_factory=dict)
    code: int = 1
    is_usage: bool = False  # of the command line itself: the parser draws a box

    def __str__(self):
        return f"{self.words}: {self.said}"


def of_setting(name, value, said, command="reconciler"):
    return Mistake(command, said, {**NO_SERVERS, f"RUNYARD_{name}": value})


MISTAKES = [
    # Settings of servers.
    Mistake("api", "RUNYARD_DATABASE_URL is not set; RUNYARD_REDIS_URL is not set."),
    Mistake("worker", "RUNYARD_DATABASE_URL is not set; RUNYARD_REDIS_URL is not set."),
    Mistake("flower", "RUNYARD_DATABASE_URL is not set; RUNYARD_REDIS_URL is not set."),
    Mistake(
        "reconciler",
        "RUNYARD_REDIS_URL is not set.",
        {"RUNYARD_DATABASE_URL": NO_SERVERS["RUNYARD_DATABASE_URL"]},
    ),
    of_setting("LOG_LEVEL", "loud", "RUNYARD_LOG_LEVEL: must be one of DEBUG, INFO, WARNING"),
    of_setting("LOG_FORMAT", "xml", "RUNYARD_LOG_FORMAT: must be one of json, console."),
    of_setting("API_PORT", "eighty", "RUNYARD_API_PORT: "),
    of_setting("API_PORT", "70000", "RUNYARD_API_PORT: Input should be less than or equal to 65535."),
    of_setting("ROOT_PATH", "/api", "RUNYARD_ROOT_PATH: begins like a path of the API"),
    of_setting(
        "CORS_ORIGINS", "*", "RUNYARD_CORS_ORIGINS: must be exact origins such as https://app.example.com"
    ),
    of_setting("TRUSTED_PROXIES", "nginx", "RUNYARD_TRUSTED_PROXIES: must be addresses or networks"),
    of_setting("LEASE_TTL", "soon", "RUNYARD_LEASE_TTL: "),
    of_setting("HEARTBEAT", "-1", "RUNYARD_HEARTBEAT: "),
    of_setting("CONCURRENCY", "0", "RUNYARD_CONCURRENCY: Input should be greater than 0.", "worker"),
    of_setting("WORKER_QUEUES", " , ", "RUNYARD_WORKER_QUEUES: must name at least one queue.", "worker"),
    of_setting(
        "STRUCTURE_API_URL", "localhost:8000", "RUNYARD_STRUCTURE_API_URL: must be http://host:port", "worker"
    ),
    *(
        of_setting("QUEUE", "runs", "RUNYARD_QUEUE is now RUNYARD_RUN_QUEUE", command)
        for command in ("api", "worker", "reconciler", "flower", "doctor", "migrate", "keys list")
    ),
    of_setting("QUEUES", "runs", "RUNYARD_QUEUES is now RUNYARD_WORKER_QUEUES", "worker"),
    Mistake(
        "worker",
        "RUNYARD_API_URL is now RUNYARD_STRUCTURE_API_URL",
        {**NO_SERVERS, "RUNYARD_API_URL": "http://api:8000", "RUNYARD_STRUCTURES_DIR": "."},
    ),
    *(
        of_setting("MODLE", "echo", "RUNYARD_MODLE is not a setting: did you mean RUNYARD_MODEL?", command)
        for command in ("api", "worker", "reconciler", "flower", "dev --data-dir dev", "config")
    ),
    of_setting(
        "HEARTBEAT", "30", "RUNYARD_HEARTBEAT (30 s) must be less than RUNYARD_LEASE_TTL (20 s)", "worker"
    ),
    of_setting("TERMINATION_GRACE", "9", "RUNYARD_TERMINATION_GRACE (9 s) must be at least", "worker"),
    of_setting("DATABASE_POOL", "9", "RUNYARD_DATABASE_POOL (9) is too small for the API", "api"),
    of_setting("REDIS_URL_FILE", "none", "RUNYARD_REDIS_URL and RUNYARD_REDIS_URL_FILE are both set", "api"),
    of_setting("FLOWER_BASIC_AUTH_FILE", "none", "none cannot be read: No such file or directory.", "doctor"),
    of_setting("FLOWER_BASIC_AUTH", "hidden", "RUNYARD_FLOWER_BASIC_AUTH: must be user:password", "flower"),
    of_setting("FLOWER_HOST", EVERYWHERE, "needs RUNYARD_FLOWER_BASIC_AUTH=user:password", "flower"),
    of_setting("API_HOST", "300.1.1.1", "The API cannot listen on 300.1.1.1, port 8000: ", "api"),
    # The commands of an operator.
    Mistake("migrate", "Set RUNYARD_DATABASE_URL, or start `"),
    Mistake("migrate", "Connection refused", NO_SERVERS),
    Mistake("keys list --org Bees", "Connection refused", NO_SERVERS),
    Mistake("doctor --data-dir none", "Set RUNYARD_DATABASE_URL"),
    Mistake("dev --data-dir /proc/runyard", "/proc/runyard"),
    # The commands of a caller.
    Mistake("run Hello", "No `runyard dev` runs on"),
    Mistake("run Hello", f"No Runyard API answers at http://{AWAY}", OF_API),
    Mistake("run Hello", "give both or neither", {"RUNYARD_API_URL": f"http://{AWAY}", "with": "dev.json"}),
    Mistake("dve", "No such command 'dve'", code=2, is_usage=True),
    Mistake("run --modle x Hello", "No such option: --modle", code=2, is_usage=True),
    Mistake("watch nonsense", "'nonsense' is no id", code=2, is_usage=True),
    Mistake("cancel", "Give the id of a run, or --all.", code=2, is_usage=True),
    Mistake("drill --url http://127.0.0.1:9 --key k", "--yes-inject-faults"),
    Mistake("drill --url http://127.0.0.1:9", "--key"),
    *(
        Mistake(f"drill --url http://127.0.0.1:9 --key k --yes-inject-faults --faults {faults}", said)
        for faults, said in (("api-kill", "out of reach"), ("fire", "--list-faults"))
    ),
    Mistake("worker --pool fibers", "'fibers' is not", code=2, is_usage=True),
]


@pytest.fixture
def runyard(commands):
    """Execute a command line with an environment in a directory."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    return lambda words, env, directory: commands.run(words.split(), {**clean, **env}, directory)


def assert_one_sentence(done, said, *, code=1):
    printed = done.stdout + done.stderr
    errors = [line for line in printed.splitlines() if line.startswith("Error: ")]
    assert done.returncode == code, printed
    assert len(errors) == 1, printed
    assert said in errors[0]
    assert "Traceback" not in printed
    assert "hidden" not in printed


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_told_in_one_sentence(mistake, runyard, tmp_path):
    env = dict(mistake.env)
    if env.pop("with", None):
        (tmp_path / ".runyard").mkdir(mode=0o700)
        DevFile(
            "http://127.0.0.1:8000", "ry_hidden", "http://127.0.0.1:5555", "postgresql://h/d", "redis://h", {}
        ).write(tmp_path / ".runyard")
    done = runyard(mistake.words, env, tmp_path)
    if mistake.is_usage:
        assert done.returncode == mistake.code
        assert mistake.said in done.stderr
        assert "Traceback" not in done.stderr
    else:
        assert_one_sentence(done, mistake.said, code=mistake.code)
        assert len(done.stderr.splitlines()) <= 2  # Flower's notice, or a database that is away


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.parametrize(
    ("command", "setting", "who"),
    [("api", "RUNYARD_API_PORT", "The API"), ("flower", "RUNYARD_FLOWER_PORT", "Flower")],
)
def test_a_port_that_is_taken_ends_a_server_at_once(command, setting, who, taken_port, runyard, tmp_path):
    done = runyard(command, {**NO_SERVERS, setting: taken_port}, tmp_path)
    assert_one_sentence(done, f"{who} cannot listen on 127.0.0.1, port {taken_port}: Address already in use.")


def test_a_second_dev_on_the_same_folder_says_who_has_it(runyard, tmp_path):
    lock = DirectoryLock(tmp_path, "dev.lock")
    lock.acquire()
    try:
        done = runyard(f"dev --port 0 --data-dir {tmp_path}", {}, tmp_path)
    finally:
        lock.release()
    assert_one_sentence(done, f"`runyard dev` is already running on {tmp_path}, as process {os.getpid()}.")


@pytest.mark.parametrize("command", ["api", "worker", "reconciler"])
def test_no_server_begins_on_a_database_that_was_not_migrated(command, runyard, services, tmp_path):
    with services.cloned_database("template1") as url:
        env = {"RUNYARD_DATABASE_URL": url, "RUNYARD_REDIS_URL": services.redis.url, "RUNYARD_API_PORT": "0"}
        done = runyard(command, env, tmp_path)
    assert_one_sentence(done, "The database lacks tables of this release: run `")
    assert "migrate` first." in done.stderr


def test_a_command_says_what_a_database_lacks(runyard, services, tmp_path):
    with services.cloned_database("template1") as url:
        done = runyard("keys list --org Bees", {"RUNYARD_DATABASE_URL": url}, tmp_path)
    assert_one_sentence(done, "The database lacks tables of this release: run `")
