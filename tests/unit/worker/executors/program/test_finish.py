"""How a program of ours tells its output: to an API that takes it, refuses it, is busy or away."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from worker.executors.program import finish as finish_module
from worker.executors.program.finish import NOT_POSTED, NotPostedError, NotTakenError, finish, finish_or_exit

TOO_LARGE_SAID = "The body is larger than 12 bytes."


class Api:
    """Answers posts as it is told to, and keeps what was posted."""

    def __init__(self):
        self.answers = []  # status, message, headers; then 202
        self.posted = []
        self.pauses = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.posted.append(json.loads(body)["payload"]["output_task_output"])
                status, message, headers = api.answers.pop(0) if api.answers else (202, "", {})
                if not status:  # as of a server that expects TLS
                    self.wfile.write(message.encode())
                    return
                answer = json.dumps({"type": "X", "errors": [{"type": "X", "message": message}]}).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api(monkeypatch):
    api = Api()
    thread = threading.Thread(target=api.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    now = [0.0]

    def sleep(seconds):
        api.pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(finish_module.time, "sleep", sleep)
    monkeypatch.setattr(finish_module.time, "monotonic", lambda: now[0])
    for name, value in {
        "GT_CLOUD_BASE_URL": api.url,
        "GT_CLOUD_STRUCTURE_RUN_ID": "1",
        "GT_CLOUD_API_KEY": "k",
        "RUNYARD_STRUCTURE_OUTPUT": "1000",
    }.items():
        monkeypatch.setenv(name, value)
    yield api
    monkeypatch.undo()
    api.server.shutdown()
    api.server.server_close()
    thread.join(60)


def test_an_output_of_the_largest_size_is_told(api):
    finish("é" * 500)
    assert [one["value"] for one in api.posted] == ["é" * 500]


NO_HTTP = (0, "\x15\x03\x03\r\n", {})


def test_an_answer_that_is_no_http_is_one_of_an_api_that_is_away(api):
    api.answers = [NO_HTTP]
    finish("on")
    assert [one["value"] for one in api.posted] == ["on", "on"]


def test_a_server_that_is_no_api_is_told_as_the_platforms_failure(api, capsys):
    api.answers = [NO_HTTP] * 1000
    with pytest.raises(SystemExit) as ended:
        finish_or_exit("on")
    assert ended.value.code == NOT_POSTED
    assert capsys.readouterr().err.startswith("The output was not posted: in 60 s the API took nothing: ")


def test_of_a_larger_output_the_limit_is_told_and_the_setting(api):
    with pytest.raises(NotTakenError, match=r"has 1002 bytes, of the 1000 .*RUNYARD_STRUCTURE_OUTPUT"):
        finish("é" * 501)
    (posted,) = api.posted
    assert (posted["type"], posted["meta"]) == ("ErrorArtifact", {"reason": "OutputTooLarge"})


def test_what_the_api_finds_too_large_is_told_too(api):
    api.answers = [(413, TOO_LARGE_SAID, {})]
    with pytest.raises(NotTakenError, match=TOO_LARGE_SAID):
        finish("x")
    assert [one["type"] for one in api.posted] == ["TextArtifact", "ErrorArtifact"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_final_and_told_in_its_own_words(api, status):
    api.answers = [(status, "Not so.", {})]
    with pytest.raises(NotTakenError, match=f"{status}, Not so."):
        finish("x")
    assert len(api.posted) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_api_that_is_busy_or_away_is_asked_again(api, status):
    api.answers = [(status, "Not now.", {"Retry-After": "2"}), (status, "Not now.", {"Retry-After": "9999"})]
    finish("x")
    assert api.pauses == [2.0, 10.0]


def test_one_that_stays_busy_is_told_of_in_a_sentence(api, capsys):
    api.answers = [(503, "Overloaded, really.", {})] * 500
    with pytest.raises(SystemExit) as ended:
        finish_or_exit("x")
    assert ended.value.code == NOT_POSTED
    said = capsys.readouterr().err
    assert "503, Overloaded, really." in said
    assert len(said.splitlines()) == 1


def test_one_that_cannot_be_reached_is_told_of(api, monkeypatch):
    monkeypatch.setenv("GT_CLOUD_BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(NotPostedError, match="took nothing"):
        finish("x")


def test_a_refusal_ends_the_program_with_a_sentence_and_no_traceback(api):
    api.answers = [(422, "No.", {})]
    with pytest.raises(SystemExit, match=r"The output was not taken: 422, No\."):
        finish_or_exit("x")
