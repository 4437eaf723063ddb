"""What the demonstration shows of its run."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.client import Event
from cli.commands import demo_view
from shared.lifecycle import RunStatus

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def event(seq, kind, *, origin="SYSTEM", **payload):
    return Event(seq, origin, kind, payload, SINCE + timedelta(milliseconds=10 * seq))


EVENTS = (
    event(0, "AssistantRunQueued", status="QUEUED"),
    event(1, "AssistantRunRunning", status="RUNNING"),
    event(2, "TextChunkEvent", origin="ASSISTANT", token="Bees "),
    event(3, "TextChunkEvent", origin="ASSISTANT", token="dance."),
    event(4, "FinishPromptEvent", origin="ASSISTANT"),
    event(5, "AssistantRunCompleted", status="SUCCEEDED"),
)


@pytest.fixture
def showing(monkeypatch):
    def showing(*, is_terminal):
        monkeypatch.setattr(demo_view, "is_terminal", lambda: is_terminal)
        return demo_view.Showing(SINCE)

    return showing


def test_a_person_sees_the_answer_grow_between_the_moves(showing, capsys):
    shown = showing(is_terminal=True)
    printed = []
    for one in EVENTS:
        shown.show(one)
        printed.append(capsys.readouterr().out)
    assert printed[2:4] == ["\nBees ", "dance."]
    assert [part.split() for part in printed[:2]] == [["QUEUED", "0", "ms"], ["RUNNING", "10", "ms"]]
    assert printed[4] == ""
    assert printed[5].split() == ["SUCCEEDED", "50", "ms"]
    assert printed[5].startswith("\n\n")


def test_a_program_gets_a_line_an_event(showing, capsys):
    shown = showing(is_terminal=False)
    for one in EVENTS:
        shown.show(one)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3", "4", "5"]


def test_nothing_is_shown_after_the_stop(showing, capsys):
    shown = showing(is_terminal=True)
    for one in EVENTS[:3]:
        shown.show(one)
    shown.stop()
    assert capsys.readouterr().out.endswith("Bees \n\n")
    shown.show(EVENTS[3])
    assert shown.is_stopped
    assert capsys.readouterr().out == ""


def test_the_summary_has_three_lines(showing):
    shown = showing(is_terminal=False)
    for one in EVENTS:
        shown.show(one)
    much, fast, onwards = shown.summary(RunStatus.SUCCEEDED).splitlines()
    assert much.startswith("6 events")
    assert "SUCCEEDED" in much
    assert fast == "From its creation to the first event: 0 ms; to the last: 50 ms."
    assert "runyard dev" in onwards
