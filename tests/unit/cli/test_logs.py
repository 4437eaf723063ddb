"""`runyard logs`: what is printed, across an API that goes away, and the exit code."""

import httpx2
import pytest
from typer.testing import CliRunner

from cli import client as cli_client
from cli import connection
from cli.client import ApiRefusedError, ApiUnreachableError, Client
from cli.commands import logs, runs
from shared.lifecycle import TERMINAL

RUN_ID = "7f0c52ab-93ab-4c9f-8f0b-0d4f1c2a8e11"
AWAY = httpx2.ConnectError("refused")


class Api:
    """An API with one structure run, which goes on one step with each look at it."""

    def __init__(self, *steps):
        self.steps = list(steps)  # a status with the lines there are by then, or what goes wrong
        self.status, self.lines, self.detail = None, [], None
        self.assistant_run = None  # the id of an assistant's run, if there is one instead

    def __call__(self, request):
        if request.url.path == f"/api/assistant-runs/{self.assistant_run}":
            return httpx2.Response(200, json={"status": "RUNNING"})
        if request.url.path.startswith("/api/assistant-runs/") or self.assistant_run is not None:
            return httpx2.Response(404, json={"errors": ["There is no such run."]})
        path = request.url.path.removeprefix(f"/api/structure-runs/{RUN_ID}")
        if path == "/logs":
            offset = int(request.url.params["offset"])
            return httpx2.Response(200, json={"logs": self.lines[offset:]})
        assert path == ""
        step = self.steps.pop(0) if self.steps else (self.status, self.lines)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx2.Response):
            return step
        self.status, self.lines = step
        return httpx2.Response(200, json={"status": self.status, "status_detail": self.detail})


@pytest.fixture
def invoke(monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_INTERVAL", 0)

    def invoke(api, *arguments):
        client = Client("http://127.0.0.1:1", "ry_key", transport=httpx2.MockTransport(api))
        monkeypatch.setattr(connection, "connect", lambda *_: client)
        return CliRunner().invoke(logs.app, arguments)

    return invoke


def test_what_there_is_is_printed(invoke):
    api = Api()
    api.lines = ["one", "two"]
    result = invoke(api, RUN_ID)
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_run_is_followed_to_its_end_and_the_exit_code_says_how_it_ended(invoke, status):
    api = Api(("QUEUED", []), ("RUNNING", ["one"]), ("RUNNING", ["one"]), (status, ["one", "two", "three"]))
    result = invoke(api, "-f", RUN_ID)
    assert (result.exit_code, result.stdout) == (runs.EXIT_CODES[status], "one\ntwo\nthree\n")


@pytest.mark.parametrize("status", sorted(TERMINAL - {"SUCCEEDED"}))
def test_of_a_run_that_did_not_succeed_it_is_said_why(invoke, status):
    api = Api(("RUNNING", ["one"]), (status, ["one"]))
    api.detail = {"reason": "InvalidConfiguration", "message": "There is no folder 'mine'."}
    result = invoke(api, "-f", RUN_ID)
    assert result.exit_code == runs.EXIT_CODES[status] != 0
    assert result.stderr == f"{status}: There is no folder 'mine'.\n"


def test_an_api_that_restarts_at_the_end_of_a_run_does_not_hide_how_it_ended(invoke):
    api = Api(("RUNNING", ["one"]), ("FAILED", ["one"]), AWAY, httpx2.Response(503, json={}))
    api.detail = {"message": "It broke."}
    result = invoke(api, "-f", RUN_ID)
    assert (result.exit_code, result.stderr) == (runs.EXIT_CODES["FAILED"], "FAILED: It broke.\n")


@pytest.mark.parametrize("away", [AWAY, httpx2.Response(503, json={})])
def test_an_api_that_restarts_is_waited_for_and_no_line_comes_twice(invoke, away):
    api = Api(("RUNNING", ["one"]), away, away, ("RUNNING", ["one", "two"]), ("SUCCEEDED", ["one", "two"]))
    result = invoke(api, "-f", RUN_ID)
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")


def test_one_that_stays_away_is_not_waited_for_for_ever(invoke, monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_TIMEOUT", 0)
    result = invoke(Api(("RUNNING", ["one"]), AWAY), "-f", RUN_ID)
    assert isinstance(result.exception, ApiUnreachableError)
    assert str(result.exception).count("No Runyard API answers") == 1
    assert result.stdout == "one\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [(AWAY, ApiUnreachableError), (httpx2.Response(404, json={"errors": ["no such run"]}), ApiRefusedError)],
)
def test_one_that_is_away_or_refuses_from_the_beginning_is_an_error_at_once(invoke, answer, error):
    result = invoke(Api(answer), "-f", RUN_ID)
    assert isinstance(result.exception, error)


@pytest.mark.parametrize("options", [[], ["-f"]])
def test_of_the_run_of_an_assistant_it_is_said_that_it_has_no_log(invoke, options):
    api = Api()
    api.assistant_run = RUN_ID
    result = invoke(api, *options, RUN_ID)
    assert isinstance(result.exception, logs.NoLogError)
    assert "only runs of structures have a log" in str(result.exception)
    assert str(result.exception).endswith(f"watch {RUN_ID}")


@pytest.mark.parametrize("arguments", [["../assistants"], ["-f", "../assistants"], ["x"], ["1/2"]])
def test_what_is_no_id_is_a_wrong_command_line(invoke, arguments):
    result = invoke(Api(), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is no id" in result.stderr
