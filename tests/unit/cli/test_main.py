"""The command line: its commands, what it finds by itself, and what its failures look like."""

import importlib.metadata
import os
import stat
import subprocess
import sys

import httpx2
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from cli import connection, main
from cli.client import ApiRefusedError, Client
from cli.commands import demo, drain
from cli.connection import MisdirectedKeyError
from cli.database_access import database_settings
from cli.local.dev_file import (
    DevFile,
    UnreadableDevFileError,
    UntrustedDevFileError,
    find_dev_file,
    remove_dev_file,
)
from cli.local.development import PortTakenError, _api_port, _flower_url
from cli.local.flower import FlowerUnprotectedError, flower_environment
from cli.local.private_files import NotOursError
from cli.local.programs import make_programs, shared_environment
from shared.errors import RunyardError
from shared.processes import ports
from shared.settings import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}


def settings(**values: object) -> Settings:
    return Settings.model_validate({**URLS, **values})


@pytest.fixture
def dev_file():
    pids = dict.fromkeys(("api", "worker", "reconciler", "flower", "postgres", "redis"), 1)
    return DevFile("http://127.0.0.1:8000", "ry_secret", "http://u:p@127.0.0.1:5555", *URLS.values(), pids)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(main.app, [name, "--help"])
    assert result.exit_code == 0
    assert f"Usage: runyard {name}" in result.stdout


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_help_says_of_a_command_what_it_says_of_itself(name):
    own = main.imported(name).help.partition("\n\n")[0]
    assert main.SUMMARIES[name].split() == own.split()


def test_the_help_imports_no_command(monkeypatch):
    monkeypatch.setattr(main, "imported", lambda name: pytest.fail(f"{name} is imported"))
    result = CliRunner().invoke(main.app, ["--help"])
    assert result.exit_code == 0
    assert set(main.COMMANDS) <= set(result.stdout.split())


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("runyard ru", {"run", "runs"}),
        ("runyard runs ", {"list", "show"}),
        ("runyard runs list --status Q", {"QUEUED"}),
        ("runyard runs list --reason Worker", {"WorkerLost", "WorkerDrained"}),
    ],
)
def test_the_shell_completes_commands_and_values(typed, offered):
    words = typed.split() + ([""] if typed.endswith(" ") else [])
    env = {"_RUNYARD_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(main.app, [], prog_name="runyard", env=env)
    assert set(result.stdout.split()) == offered


def test_the_version_is_told():
    result = CliRunner().invoke(main.app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"runyard {importlib.metadata.version('runyard')}\n")


def run_main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["runyard", *arguments])
    for name in ("load_unsearched", "settle_garbage"):  # the process of the tests has a heap of its own
        monkeypatch.setattr(main, name, lambda: None)
    with pytest.raises(SystemExit) as ending:
        main.main()
    return ending.value.code


def test_garbage_is_searched_for_once_the_command_is_imported(monkeypatch):
    done = []
    monkeypatch.setattr(sys, "argv", ["runyard", "config", "--help"])
    monkeypatch.setattr(main, "load_unsearched", lambda: done.append("load"))
    monkeypatch.setattr(main, "settle_garbage", lambda: done.append("settle"))
    imported = main.imported
    monkeypatch.setattr(main, "imported", lambda name: (done.append(name), imported(name))[1])
    with pytest.raises(SystemExit):
        main.main()
    assert done == ["load", "config", "settle"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch", "7f0c52ab-93ab-4c9f-8f0b-0d4f1c2a8e11"], "No `runyard dev` runs on"),
        (["migrate"], "Set RUNYARD_DATABASE_URL"),
        (["flower"], "RUNYARD_DATABASE_URL is not set"),
    ],
)
def test_a_failure_is_one_line_and_no_traceback(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, *arguments) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.splitlines()) == 1


def test_an_unknown_command_is_a_wrong_command_line(monkeypatch):
    assert run_main(monkeypatch, "nonsense") == 2


def test_a_command_whose_extra_is_missing_says_so(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(name, name="psutil")

    monkeypatch.setattr(main.importlib, "import_module", missing)
    assert run_main(monkeypatch, "dev", "--port", "0") == 1
    assert "install the extra `embedded`" in capsys.readouterr().err


def test_the_dev_file_is_private_whole_and_removed(tmp_path, dev_file):
    assert find_dev_file(tmp_path) is None
    dev_file.write(tmp_path)
    assert find_dev_file(tmp_path) == dev_file
    assert stat.S_IMODE((tmp_path / "dev.json").stat().st_mode) == 0o600
    remove_dev_file(tmp_path)
    remove_dev_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"api_url": "x"}', "{"])
def test_a_dev_file_of_another_making_is_refused(tmp_path, content):
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(UnreadableDevFileError):
        find_dev_file(tmp_path)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ((None, None), "http://127.0.0.1:8000"),
        (("http://127.0.0.1:8000/", None), "http://127.0.0.1:8000"),
        ((None, "ry_other"), "http://127.0.0.1:8000"),
    ],
)
def test_what_is_not_given_is_what_dev_has_told(tmp_path, dev_file, given, url):
    dev_file.write(tmp_path)
    with connection.connect(*given, tmp_path) as client:
        assert client._url == url
        assert client._http.headers["authorization"] == f"Bearer {given[1] or 'ry_secret'}"


class Stranger:
    """An API that keeps what it is sent, and sends it on elsewhere."""

    def __init__(self):
        self.heard = []

    def __call__(self, request):
        self.heard.append((request.url.host, request.headers.get("authorization")))
        return httpx2.Response(307, headers={"Location": "http://stranger.example/api"})


def test_a_key_of_the_environment_goes_to_no_address_out_of_a_file(tmp_path, dev_file, monkeypatch):
    dev_file.write(tmp_path)
    monkeypatch.setenv("RUNYARD_API_KEY", "ry_production")
    with pytest.raises(MisdirectedKeyError):
        connection.connect(None, "ry_production", tmp_path)
    with connection.connect("http://production", "ry_production", tmp_path) as client:
        assert client._url == "http://production"


def test_line_ends_belong_neither_to_a_key_nor_to_an_address(tmp_path, dev_file, monkeypatch):
    with connection.connect("http://production\n", "ry_production\r\n", tmp_path) as client:
        assert client._url == "http://production"
        assert client._http.headers["authorization"] == "Bearer ry_production"
    dev_file.write(tmp_path)
    monkeypatch.setenv("RUNYARD_API_KEY", "ry_production\n")
    with pytest.raises(MisdirectedKeyError):
        connection.connect(None, "ry_production\n", tmp_path)


def test_a_key_out_of_a_file_goes_to_no_other_address(tmp_path, dev_file):
    dev_file.write(tmp_path)
    with pytest.raises(MisdirectedKeyError):
        connection.connect("http://elsewhere", None, tmp_path)


def test_a_key_does_not_follow_a_redirect():
    stranger = Stranger()
    client = Client("http://127.0.0.1:1", "ry_key", transport=httpx2.MockTransport(stranger))
    with client:
        with pytest.raises(ApiRefusedError):
            client.get_run("11111111-1111-4111-8111-111111111111")
        with pytest.raises(ApiRefusedError):
            list(client.follow("11111111-1111-4111-8111-111111111111"))
    assert {host for host, _ in stranger.heard} == {"127.0.0.1"}


def _open_to_others(path):
    (path / "dev.json").chmod(0o644)


def _in_a_folder_of_all(path):
    path.chmod(0o777)


def _linked(path):
    (path / "dev.json").rename(path / "real.json")
    (path / "dev.json").symlink_to(path / "real.json")


def _piped(path):
    (path / "dev.json").unlink()
    os.mkfifo(path / "dev.json", 0o600)


def _of_a_stranger(path):
    os.chown(path / "dev.json", 12345, 12345)


def _in_a_strangers_folder(path):
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "spoil",
    [
        *(_open_to_others, _in_a_folder_of_all, _linked, _piped),
        pytest.param(_of_a_stranger, marks=AS_ROOT),
        pytest.param(_in_a_strangers_folder, marks=AS_ROOT),
    ],
)
def test_a_dev_file_that_a_stranger_may_have_written_is_not_used(tmp_path, dev_file, monkeypatch, spoil):
    dev_file.write(tmp_path)
    spoil(tmp_path)
    for name in ("RUNYARD_DATABASE_URL", "RUNYARD_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for look in (
        lambda: connection.connect(None, None, tmp_path),
        lambda: database_settings(tmp_path),
        lambda: drain._settings(tmp_path),
    ):
        with pytest.raises(UntrustedDevFileError, match="is not used: "):
            look()


def test_no_dev_is_needed_where_all_is_given(tmp_path):
    connection.connect("http://elsewhere", "ry_key", tmp_path)
    with pytest.raises(RunyardError, match="--api-url"):
        connection.connect(None, "ry_key", tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_flower_needs_no_credentials_on_loopback(host):
    environment = flower_environment(settings(flower_host=host, flower_port=1), {"KEPT": "x"})
    assert environment["FLOWER_ADDRESS"] == host
    assert environment["KEPT"] == "x"
    assert "FLOWER_BASIC_AUTH" not in environment


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.0.0.1", "flower.example.com", ""])
def test_flower_is_not_started_open_to_others(host):
    with pytest.raises(FlowerUnprotectedError):
        flower_environment(settings(flower_host=host), {})


@pytest.mark.parametrize(
    ("values", "outside"),
    [
        ({"flower_basic_auth": "u:p"}, {}),
        ({}, {"FLOWER_BASIC_AUTH": "u:p"}),
        ({}, {"FLOWER_AUTH": ".*@example.com"}),
    ],
)
def test_flower_is_open_to_others_with_credentials(values, outside):
    environment = flower_environment(settings(flower_host=EVERYWHERE, **values), outside)
    assert {"FLOWER_BASIC_AUTH", "FLOWER_AUTH"} & environment.keys()


def test_flowers_url_holds_its_credentials():
    given = settings(flower_host=EVERYWHERE, flower_port=5555, flower_basic_auth="u:p@/x,other:y")
    assert _flower_url(given) == "http://u:p%40%2Fx@127.0.0.1:5555"


def test_the_users_environment_reaches_the_processes_and_addresses_are_ours():
    given = {"OPENAI_BASE_URL": "http://llm", "RUNYARD_DRAIN_GRACE": "9", "RUNYARD_REDIS_URL": "stale"}
    environment = shared_environment(settings(api_port=1234), given)
    assert environment["OPENAI_BASE_URL"] == "http://llm"
    assert environment["RUNYARD_DRAIN_GRACE"] == "9"
    assert environment["RUNYARD_REDIS_URL"] == URLS["redis_url"]
    assert environment["RUNYARD_API_PORT"] == "1234"


def test_options_are_passed_on_to_the_worker(tmp_path):
    programs = make_programs(settings(), tmp_path, concurrency=7, processes=None)
    assert programs["worker"]._command.arguments[-3:] == ["worker", "--concurrency=7", "--processes=1"]
    assert set(programs) == {"api", "worker", "reconciler", "flower"}


def test_the_api_port_is_the_wanted_one_or_any():
    taken = ports.free_port()
    with ports.socket.create_server((ports.LOOPBACK, taken)):
        with pytest.raises(PortTakenError):
            _api_port(taken, 8000)
        assert _api_port(None, taken) != taken
        assert _api_port(0, taken) not in {0, taken}
    assert _api_port(taken, 8000) == taken
    assert _api_port(None, taken) == taken


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": "k"}, "openai/gpt-4.1-mini"),
        ({"OPENAI_BASE_URL": "u", "OPENAI_MODEL": "m"}, "openai/m"),
        ({"OPENAI_BASE_URL": "u", "RUNYARD_MODEL": "echo"}, None),
    ],
)
def test_the_demonstration_uses_the_model_there_is(given, model):
    assert demo.demo_environment(given).get("RUNYARD_MODEL") == model


def test_only_the_worker_gets_what_may_be_a_key_of_a_provider(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HOUSE_TOKEN", "RUNYARD_API_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("RUNYARD_LOG_LEVEL", "DEBUG")
    programs = make_programs(settings(), tmp_path, concurrency=None, processes=None)
    assert programs["worker"]._command.environment["HOUSE_TOKEN"] == "secret"
    for name in ("api", "reconciler", "flower"):
        environment = programs[name]._command.environment
        assert "secret" not in environment.values(), name
        assert environment["PATH"] == os.environ["PATH"]
        assert environment["RUNYARD_LOG_LEVEL"] == "DEBUG"


def test_flower_without_credentials_shows_no_buttons():
    assert flower_environment(settings(), {})["FLOWER_READ_ONLY"] == "true"
    assert "FLOWER_READ_ONLY" not in flower_environment(settings(flower_basic_auth="u:p"), {})
    assert "FLOWER_READ_ONLY" not in flower_environment(settings(), {"FLOWER_AUTH": ".*@example.com"})


def test_flower_gets_its_path_and_its_state(tmp_path):
    assert {"FLOWER_URL_PREFIX", "FLOWER_PERSISTENT"} & flower_environment(settings(), {}).keys() == set()
    kept = settings(flower_state=tmp_path / "tasks", flower_url_prefix="ops/flower")
    environment = flower_environment(kept, {})
    assert environment["FLOWER_URL_PREFIX"] == "ops/flower"
    assert environment["FLOWER_DB"] == str(tmp_path / "tasks")
    tmp_path.chmod(0o777)
    with pytest.raises(NotOursError, match="others can write"):
        flower_environment(kept, {})


@pytest.mark.parametrize("prefix", ["/flower", "flower/", "a//b", "a b", "..%2f"])
def test_a_path_of_flower_is_checked(prefix):
    with pytest.raises(ValidationError, match="flower_url_prefix"):
        settings(flower_url_prefix=prefix)


@pytest.mark.parametrize(
    ("statement", "printed"),
    [
        ("output('h\u00e9 \U0001f600')", b"h\\xe9 \\U0001f600\n"),
        ("output_json({'h\u00e9': '\U0001f600'})", b'{"h\\u00e9":"\\ud83d\\ude00"}\n'),
    ],
)
def test_a_character_that_the_terminal_does_not_know_ends_no_command(statement, printed):
    program = (
        "import cli.main; from cli.console import output, output_json;"
        f" cli.main.app = lambda **_: {statement}; cli.main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")
