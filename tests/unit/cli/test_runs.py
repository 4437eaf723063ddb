"""`runyard run` and `watch`: what is printed where, and the exit code."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cli import timeline
from cli.client import ApiRefusedError, Event
from cli.commands import runs
from cli.exit_codes import EXIT_CODES
from shared.lifecycle import TERMINAL, RunStatus

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
RUN_ID = "7f0c52ab-93ab-4c9f-8f0b-0d4f1c2a8e11"


def event(seq: int, kind: str, **payload: object) -> Event:
    return Event(seq, "SYSTEM", kind, payload, CREATED + timedelta(milliseconds=12 * seq))


class FakeClient:
    """An API with one run."""

    def __init__(self, events, *, interrupted=False, **run):
        self.events = events
        self.interrupted = interrupted
        self.run = {"created_at": CREATED.isoformat(), **run}
        self.has_others = False
        self.refused = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is open."""

    def ensure_assistant(self, name):
        return f"id of {name}"

    def create_run(self, assistant_id, text, **fields):
        self.asked = (
            assistant_id,
            text,
            {name: value for name, value in fields.items() if value is not None},
        )
        return RUN_ID

    def get_run(self, run_id):
        assert run_id == RUN_ID
        return self.run

    def get_ended_run(self, run_id):
        return self.get_run(run_id)

    def cancel_run(self, run_id):
        if run_id in self.refused:
            raise ApiRefusedError(self.refused[run_id], "refused")
        return self.run if self.has_others else self.get_run(run_id)

    def assistants(self):
        return iter([{"assistant_id": "a"}, {"assistant_id": "b"}])

    def structures(self):
        return iter([{"structure_id": "s"}])

    def active_runs(self, statuses, *, kind):
        assert statuses is None
        return iter([f"other {kind}", "gone"]) if self.has_others else iter([])

    def cancel_runs(self, subject_id, statuses, *, kind):
        if subject_id in self.refused:
            raise ApiRefusedError(self.refused[subject_id], "refused")
        yield f"{kind} {subject_id}: {','.join(statuses or ['all'])}"

    def follow(self, run_id):
        assert run_id == RUN_ID
        yield from self.events
        if self.interrupted:
            raise KeyboardInterrupt


@pytest.fixture
def invoke(monkeypatch):
    def call(client, app, *arguments, **options):
        monkeypatch.setattr(runs.connection, "connect", lambda *_: client)
        return CliRunner().invoke(app, arguments, **options)

    return call


def completed(seq, status, **detail):
    return event(seq, "AssistantRunCompleted", status=status, status_detail=detail)


def test_the_answer_is_printed_once_from_its_chunks(invoke):
    chunks = [event(0, "TextChunkEvent", token="blue "), event(1, "TextChunkEvent", token="light")]
    client = FakeClient(
        [*chunks, completed(2, "SUCCEEDED")], status="SUCCEEDED", output={"value": "blue light"}
    )
    options = ("--model", "openai/m", "--max-duration", "2.5", "--queue-ttl", "60", "--max-attempts", "2")
    result = invoke(client, runs.run_app, "why?", "--assistant", "sky", *options)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "blue light\n", f"Run {RUN_ID}\n")
    asked = {"model": "openai/m", "max_duration": 2.5, "queue_ttl": 60.0, "max_attempts": 2}
    assert client.asked == ("id of sky", "why?", asked)


def test_an_answer_without_chunks_is_printed_too(invoke):
    client = FakeClient([completed(0, "SUCCEEDED")], status="SUCCEEDED", output={"value": "blue"})
    assert invoke(client, runs.run_app, "why?").stdout == "blue\n"


def test_text_can_come_from_standard_input(invoke):
    client = FakeClient([completed(0, "SUCCEEDED")], status="SUCCEEDED", output={"value": "blue"})
    invoke(client, runs.run_app, "-", input="from a pipe")
    assert client.asked[1] == "from a pipe"


def test_a_second_attempt_is_told_from_the_first(invoke):
    events = [
        event(0, "AssistantRunRunning", attempt=1),
        event(1, "TextChunkEvent", token="bl"),
        event(2, "AssistantRunRunning", attempt=2),
        event(3, "TextChunkEvent", token="blue"),
        completed(4, "SUCCEEDED"),
    ]
    client = FakeClient(events, status="SUCCEEDED", output={"value": "blue"})
    result = invoke(client, runs.run_app, "why?")
    assert result.stdout == "bl\nblue\n"
    assert "attempt 2" in result.stderr


def test_what_an_attempt_says_again_is_not_printed_twice(invoke):
    events = [
        event(0, "AssistantRunRunning", attempt=1),
        event(1, "TextChunkEvent", token="bl"),
        event(2, "AssistantRunQueued", attempt=1, reset=True),
        event(3, "AssistantRunRunning", attempt=2),
        event(4, "TextChunkEvent", type="RepeatedTextChunkEvent", token="bl"),
        event(5, "TextChunkEvent", token="ue"),
        completed(6, "SUCCEEDED"),
    ]
    result = invoke(FakeClient(events, status="SUCCEEDED", output={"value": "blue"}), runs.run_app, "why?")
    assert (result.stdout, result.stderr) == (
        "blue\n",
        f"Run {RUN_ID}\n\nStarted again, as attempt 2.\n",
    )


def test_an_attempt_that_takes_another_turn_is_printed_whole(invoke):
    events = [
        event(0, "AssistantRunRunning", attempt=1),
        event(1, "TextChunkEvent", token="bl"),
        event(2, "AssistantRunRunning", attempt=2),
        event(3, "TextChunkEvent", type="RepeatedTextChunkEvent", token="b"),
        event(4, "TextChunkEvent", token="right"),
        completed(5, "SUCCEEDED"),
    ]
    result = invoke(FakeClient(events, status="SUCCEEDED", output={"value": "bright"}), runs.run_app, "why?")
    assert result.stdout == "bl\nbright\n"


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_the_exit_code_says_how_the_run_ended(invoke, status):
    client = FakeClient([completed(0, status)], status=status, status_detail={"message": "so it was"})
    for app, argument in ((runs.run_app, "why?"), (runs.watch_app, RUN_ID)):
        assert invoke(client, app, argument).exit_code == EXIT_CODES[status]


def test_a_bad_ending_is_explained(invoke):
    client = FakeClient([completed(0, "FAILED")], status="FAILED", status_detail={"message": "no luck"})
    result = invoke(client, runs.run_app, "why?")
    assert (result.stdout, result.stderr) == ("", f"Run {RUN_ID}\nFAILED: no luck\n")


def test_ctrl_c_leaves_the_run_going_and_says_how_to_reach_it(invoke):
    result = invoke(FakeClient([], interrupted=True), runs.run_app, "why?")
    assert result.exit_code == 130
    assert f"runyard watch {RUN_ID}" in result.stderr
    assert f"runyard cancel {RUN_ID}" in result.stderr


def test_cancel_prints_the_status_it_led_to(invoke):
    client = FakeClient([], status="CANCELLED", status_detail={"message": "by you"})
    result = invoke(client, runs.cancel_app, RUN_ID)
    assert (result.exit_code, result.stdout) == (0, "CANCELLED  by you\n")


def test_cancel_of_all_prints_the_runs_it_cancelled(invoke):
    result = invoke(FakeClient([]), runs.cancel_app, "--all")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "assistant a: all\nassistant b: all\nstructure s: all\n",
        "3 runs cancelled.\n",
    )


def test_cancel_of_all_goes_on_where_something_is_deleted_beside_it(invoke):
    client = FakeClient([], status="CANCELLED")
    client.refused, client.has_others = {"a": 404, "gone": 404}, True
    result = invoke(client, runs.cancel_app, "--all")
    assert (result.exit_code, result.stdout) == (
        0,
        "assistant b: all\nstructure s: all\nother assistant\nother structure\n",
    )


def test_cancel_of_all_does_not_count_what_has_ended_by_itself(invoke):
    client = FakeClient([], status="SUCCEEDED")
    client.has_others = True
    result = invoke(client, runs.cancel_app, "--all")
    assert result.stderr == "3 runs cancelled.\n"


def test_cancel_of_all_tells_any_other_refusal(invoke):
    client = FakeClient([])
    client.refused = {"b": 403}
    result = invoke(client, runs.cancel_app, "--all")
    assert isinstance(result.exception, ApiRefusedError)


def test_cancel_of_all_can_be_narrowed(invoke):
    options = ["--assistant", RUN_ID, "--status", "QUEUED", "--status", "RUNNING"]
    result = invoke(FakeClient([]), runs.cancel_app, "--all", *options)
    assert result.stdout == f"assistant {RUN_ID}: QUEUED,RUNNING\n"


@pytest.mark.parametrize(
    "arguments", [[], [RUN_ID, "--all"], [RUN_ID, "--status", "QUEUED"], ["--all", "--status", "FAILED"]]
)
def test_a_cancel_that_is_not_clear_cancels_nothing(invoke, arguments):
    result = invoke(FakeClient([], status="RUNNING"), runs.cancel_app, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (runs.watch_app, ["../assistants"]),
        (runs.cancel_app, ["../assistants"]),
        (runs.cancel_app, ["--all", "--assistant", "../structures"]),
    ],
)
def test_what_is_no_id_is_a_wrong_command_line(invoke, app, arguments):
    result = invoke(FakeClient([], status="RUNNING"), app, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is no id" in result.stderr


def test_exit_codes_are_distinct_and_documented():
    assert set(EXIT_CODES) == TERMINAL
    assert len(set(EXIT_CODES.values())) == len(TERMINAL)
    documented = dict(re.findall(r"(\d+) ([A-Z]+)", runs.EPILOG))
    assert documented == {str(code): status for status, code in EXIT_CODES.items()}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"token": "a\nb"}, "'a\\nb'"),
        ({"type": "RepeatedTextChunkEvent", "token": "ab"}, "again: 'ab'"),
        ({"output_task_output": {"value": "the answer"}}, "the answer"),
        ({"output_task_output": None}, ""),
        ({"status": "QUEUED", "attempt": 0}, "QUEUED"),
        (
            {"status": "ERROR", "status_detail": {"reason": "Expired", "message": "late"}},
            "ERROR (Expired): late",
        ),
        ({"input_token_count": 3, "output_token_count": 4}, "3 tokens in, 4 out"),
        ({}, ""),
        ({"output_task_output": {"value": "x\n" * 200}}, ("x " * 36)[:71] + "…"),
    ],
)
def test_the_gist_of_an_event_is_one_line(payload, said):
    assert timeline.gist(payload) == said


def test_a_line_of_the_timeline_counts_from_the_runs_creation():
    line = timeline.line_of(event(3, "AssistantRunRunning", status=RunStatus.RUNNING), since=CREATED)
    assert line.split() == ["3", "+36", "ms", "AssistantRunRunning", "RUNNING"]


def test_one_cancelled_run_is_one_run(invoke):
    result = invoke(FakeClient([]), runs.cancel_app, "--all", "--assistant", RUN_ID)
    assert result.stderr == "1 run cancelled.\n"
