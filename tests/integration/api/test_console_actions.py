"""Actions of the console beside others, and what programs say of themselves."""

import re
import threading
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import exc, select

from api.console.actions import Actions
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run, Thread
from tests.integration.api.browsing import HTML, Browser
from tests.support.waiting import wait_until


@contextmanager
def failing(monkeypatch, *, after, error):
    """Let an action on a run fail once some were done."""
    submit, seen = Actions.run_again, []

    def run_again(self, *arguments, **options):
        if len(seen) == after:
            raise error
        seen.append(arguments)
        return submit(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Actions, "run_again", run_again)
        yield


class LostRaceError(Exception):
    sqlstate = "40P01"


PASSING = [
    exc.OperationalError("SELECT 1", {}, OSError("server closed the connection")),
    exc.OperationalError("SELECT 1", {}, LostRaceError()),
]


def hidden_fields(html):
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html))


@pytest.mark.parametrize("error", PASSING)
@pytest.mark.parametrize("which", ["chosen", "all"])
def test_a_bulk_action_that_meets_an_outage_repeats_no_run(
    browser, factories, sessions, monkeypatch, which, error
):
    runs = [factories.run(status=RunStatus.FAILED) for _ in range(4)]
    chosen = {"run": [str(run.id) for run in runs]} if which == "chosen" else {}
    asked = browser.post("/runs/bulk", action="again", which=which, filter="status=FAILED", **chosen)
    fields = hidden_fields(asked.text[asked.text.index('id="bulk"') :])
    with failing(monkeypatch, after=2, error=error):
        answer = browser.client.post("/console/runs/bulk/next", data=fields, headers=HTML)
    assert answer.status_code == 200
    assert "Stopped on the way" in answer.text
    assert 'id="done">2<' in answer.text
    assert "load" not in re.findall(r'hx-trigger="([^"]*)"', answer.text), "it goes on only when told"
    fields = hidden_fields(answer.text[answer.text.index('id="bulk"') :])
    answer = browser.client.post("/console/runs/bulk/next", data=fields, headers=HTML)
    assert 'id="done">4<' in answer.text
    assert "Done." in answer.text
    with unit_of_work(sessions) as session:
        assert len(session.scalars(select(Run.id).where(Run.status == RunStatus.QUEUED)).all()) == 4


def test_a_part_of_a_bulk_action_that_is_asked_for_again_repeats_no_run(browser, factories, sessions):
    """As if its answer had been lost; another action on the same runs does repeat them."""
    runs = [factories.run(status=RunStatus.FAILED), factories.structure_run(status=RunStatus.FAILED)]
    for kind, run in zip(("assistant", "structure"), runs, strict=True):
        asking = {"action": "again", "which": "chosen", "filter": f"kind={kind}", "run": [str(run.id)]}
        for _ in range(2):
            asked = browser.post("/runs/bulk", **asking)
            fields = hidden_fields(asked.text[asked.text.index('id="bulk"') :])
            for _ in range(2):
                answer = browser.client.post("/console/runs/bulk/next", data=fields, headers=HTML)
                assert 'id="done">1<' in answer.text
    with unit_of_work(sessions) as session:
        made = session.scalars(select(Run).where(Run.status == RunStatus.QUEUED)).all()
    assert [run.structure_id is None for run in made].count(True) == 2
    assert len(made) == 4


def test_a_bulk_action_that_meets_an_outage_at_once_goes_on_from_the_beginning(
    browser, factories, sessions, monkeypatch
):
    run = factories.run(status=RunStatus.FAILED)
    asked = browser.post("/runs/bulk", action="again", which="all", filter="status=FAILED")
    fields = hidden_fields(asked.text[asked.text.index('id="bulk"') :])
    with failing(monkeypatch, after=0, error=PASSING[0]):
        halted = browser.client.post("/console/runs/bulk/next", data=fields, headers=HTML)
    assert "Stopped on the way" in halted.text
    fields = hidden_fields(halted.text[halted.text.index('id="bulk"') :])
    browser.client.post("/console/runs/bulk/next", data=fields, headers=HTML)
    with unit_of_work(sessions) as session:
        made = session.scalars(select(Run).where(Run.status == RunStatus.QUEUED)).all()
    assert [one.assistant_id for one in made] == [run.assistant_id]


@pytest.fixture
def report(browser, factories, secret):
    """Have the program of an external run say something; return the run's id."""

    def report(*events):
        run = factories.structure_run(is_external=True)
        headers = {"Authorization": f"Bearer {secret}"}
        for kind, payload in events:
            told = [{"type": kind, "timestamp": 1, "payload": payload}]
            answer = browser.client.post(f"/api/structure-runs/{run.id}/events", json=told, headers=headers)
            assert answer.status_code == 202, answer.text
        return run.id

    return report


@pytest.mark.parametrize("odd", [["x"], {"a": 1}, 7, True, "TextChunkEvent", None])
def test_events_of_a_program_may_say_anything(browser, report, odd):
    names = ("TextChunkEvent", "FinishPromptEvent", "StartActionsSubtaskEvent", "StructureRunQueued")
    keys = ("type", "token", "result", "model", "input_token_count", "subtask_actions", "reset")
    run_id = report(*((name, dict.fromkeys(keys, odd)) for name in names))
    answer = browser.get(f"/runs/{run_id}/events")
    assert answer.status_code == 200
    assert [event["type"] for event in answer.json()["events"]][-4:] == list(names)
    assert browser.get(f"/runs/{run_id}").status_code == 200
    assert browser.get(f"/runs/{run_id}/compare?with={run_id}").status_code == 200


def test_a_program_neither_ends_the_live_view_of_its_run_nor_strikes_it_out(browser, factories, report):
    run_id = report(("StructureRunCompleted", {}), ("StructureRunQueued", {"reset": True}))
    events = browser.get(f"/runs/{run_id}/events").json()["events"]
    assert not [event for event in events if "last" in event or "reset" in event]
    ended = factories.run(status=RunStatus.SUCCEEDED)
    assert browser.get(f"/runs/{ended.id}/events").json()["events"][-1]["last"] is True


def compared(browser, one, other):
    html = browser.get(f"/runs/{one}/compare?with={other}").text
    return re.search(r"<p>(The (?:events|first).*?)</p>", html, re.DOTALL)[1], html


def test_runs_that_differ_late_in_a_long_event_are_told_apart(browser, report):
    one, other = (report(("Said", {"words": "x" * 3000 + letter})) for letter in ("A", "B"))
    said, html = compared(browser, one, other)
    assert "first difference" in said
    assert "xA&#34;" in html
    assert "xB&#34;" in html


def test_what_is_not_read_of_a_long_log_is_not_called_alike(browser, report):
    bodies = [{"words": "x" * 100_000, "n": number} for number in range(20)]
    one = report(*(("Said", body) for body in bodies))
    other = report(*(("Said", body) for body in [*bodies[:-1], {"words": "y"}]))
    said, _ = compared(browser, one, other)
    assert "Only the first events of each run are compared." in said
    assert "first difference" not in said


def test_events_that_only_one_of_two_runs_has_are_a_difference(browser, report):
    one = report(("Said", {"n": 1}), ("Said", {"n": 2}))
    other = report(("Said", {"n": 1}))
    assert "first difference" in compared(browser, one, other)[0]


@pytest.mark.parametrize(
    "path", ["/console/overview", "/v1/orchestrate/agents", "/api/v1/orchestrate/agents"]
)
def test_an_error_of_ours_has_the_shape_of_its_dialect(browser, client, secret, monkeypatch, path):
    def fail(*_arguments, **_options):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("shared.assistants.queries.page", fail)
    monkeypatch.setattr("api.console.parts.unit_of_work", fail, raising=False)
    monkeypatch.setattr("api.console.overview.shared_part", fail)
    headers = HTML if "console" in path else {"Authorization": f"Bearer {secret}"}
    answer = browser.client.get(path, headers=headers)
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "ZeroDivision" not in answer.text
    assert answer.headers["content-type"].startswith("text/html" if "console" in path else "application/json")


@pytest.mark.parametrize("wanted", ["http://[", "//[x", "/console/[", "\x00", "/console/\x7f"])
def test_an_odd_place_to_go_after_signing_in_is_none(anonymous, secret, wanted):
    answer = anonymous.post("/console/sign-in", data={"key": secret, "next": wanted}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] in {"/console/overview", wanted}


PROXIED = [
    {"Host": "127.0.0.1:8000", "X-Forwarded-Proto": "https"},
    {"Host": "127.0.0.1:8000", "X-Forwarded-For": "192.0.2.1"},
    {"Host": "127.0.0.1:8000", "Forwarded": "proto=https"},
    {"Host": "127.0.0.1:8000", "Origin": "https://runs.example.com"},
    {"Host": "127.0.0.1:8000", "Origin": "https://localhost"},
    {"Host": "localhost", "Origin": "null"},
    {"Host": "localhost.example.com"},
    {"Host": "[::1"},
]
LOCAL = [
    {"Host": "[::1]:8000"},
    {"Host": "[::1]"},
    {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
]


@pytest.mark.parametrize("headers", [*PROXIED, *LOCAL])
def test_only_a_browser_on_the_machine_itself_gets_a_cookie_without_tls(anonymous, secret, headers):
    answer = anonymous.post("/console/sign-in", data={"key": secret}, headers=headers, follow_redirects=False)
    assert ("secure" in answer.headers["set-cookie"].lower()) is (headers in PROXIED)


@pytest.mark.parametrize("setting_overrides", [{"key_refusals": 1}])
def test_a_stranger_with_wrong_keys_keeps_nobody_of_his_address_out(anonymous, secret, client):
    assert client.get("/api/users").status_code == 200  # the key is known
    answers = [anonymous.post("/console/sign-in", data={"key": f"garbage {n}"}) for n in range(100)]
    assert 429 in {answer.status_code for answer in answers}
    answer = anonymous.post("/console/sign-in", data={"key": secret}, follow_redirects=False)
    assert answer.status_code == 303


def test_a_cancel_does_not_stand_behind_what_begins_runs(served, factories, secret, committed_sessions):
    """Requests that begin runs wait for the row of a thread, until they give up after five seconds."""
    thread, victim = factories.run(new_thread=True), factories.run()
    browser = Browser(served.client)
    browser.sign_in(secret)
    token = browser.token()

    def post(path, **fields):
        answers.append(served.client.post(f"/console{path}", data={**fields, "csrf": token}, headers=HTML))

    answers = []
    lane = served.resources.lanes.requests
    say = partial(post, f"/assistants/{thread.assistant_id}/say", said="Hi", thread=str(thread.thread_id))
    with committed_sessions.begin() as session:
        session.execute(select(Thread).where(Thread.id == thread.thread_id).with_for_update())
        waiting = [threading.Thread(target=say) for _ in range(4)]
        for one in waiting:
            one.start()
        wait_until(lambda: lane._free <= lane.capacity - 2, what="the others to stand in their lane")
        post(f"/runs/{victim.id}/cancel", kind="assistant")
        (cancelled,) = answers  # the others have no answer yet
    for one in waiting:
        one.join(60)
    assert cancelled.status_code == 303
    with committed_sessions() as session:
        assert session.get(Run, victim.id).status is RunStatus.CANCELLED
