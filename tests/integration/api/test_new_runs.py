"""Who follows a run that was just created is told its first event without a look-up."""

import pytest

from tests.integration.api.serving import parsed
from tests.support.waiting import wait_until

RUN_STREAM = "/api/assistant-runs/{}/events/stream"


@pytest.fixture
def create(served, make_assistant):
    """Create a run over HTTP; its id."""
    url = f"/api/assistants/{make_assistant().id}/runs"

    def create():
        answer = served.client.post(url, json={"args": ["Hi"]})
        assert answer.status_code == 201
        return answer.json()["assistant_run_id"]

    create()  # which reads the assistant: the next ones are stored together with others
    return create


@pytest.fixture
def looked_up(served, monkeypatch):
    """The runs that were looked up for a stream."""
    ids, find = [], served.resources.hub.finder.find

    async def finding(run_id, **about):
        ids.append(str(run_id))
        return await find(run_id, **about)

    monkeypatch.setattr(served.resources.hub.finder, "find", finding)
    return ids


@pytest.fixture
def lasting(monkeypatch):
    """What is known of new runs stays known for the whole test."""
    monkeypatch.setattr("api.streaming.newcomers.KNOWN_TIME", 300.0)
    monkeypatch.setattr("api.streaming.log_reader.KEEP_TIME", 300.0)


def first_frame(served, run_id):
    with served.stream(run_id) as reader:
        return next(reader.frames())


@pytest.mark.usefixtures("lasting")
def test_its_first_event_is_there_at_once_and_is_what_every_reader_sees(served, create, looked_up):
    run_id = create()
    early = first_frame(served, run_id)
    assert looked_up == []
    newcomers = served.resources.hub.newcomers
    for known in tuple(newcomers._owners):
        newcomers.forget(known)
    for key, reading in tuple(served.resources.hub._log_reader._reads.items()):
        served.resources.hub._log_reader._forget(key, reading)
    assert first_frame(served, run_id) == early
    assert looked_up == [run_id]
    listed = served.client.get(f"/api/assistant-runs/{run_id}/events").json()["events"]
    assert parsed(early)["event_id"] == listed[0]["event_id"]


@pytest.mark.usefixtures("lasting")
def test_later_events_follow_though_nobody_has_published_them(served, create, looked_up):
    run_id = create()
    cancelled = served.client.post(f"/api/assistant-runs/{run_id}/cancel")
    assert cancelled.json()["status"] == "CANCELLED"
    frames = [parsed(frame)["seq"] for frame in served.frames(run_id)]
    listed = served.client.get(f"/api/assistant-runs/{run_id}/events").json()["events"]
    assert frames == list(range(len(listed)))
    assert looked_up == []


@pytest.mark.usefixtures("lasting")
def test_it_is_known_to_nobody_else_and_as_nothing_else(served, create, factories):
    run_id = create()
    _, secret = factories.principal_and_secret(organization="elsewhere", email="b@elsewhere.example")
    strange = served.client.get(RUN_STREAM.format(run_id), headers={"Authorization": f"Bearer {secret}"})
    assert strange.status_code == 404
    other_kind = served.client.get(f"/api/structure-runs/{run_id}/events/stream")
    assert other_kind.status_code == 404


@pytest.mark.usefixtures("lasting")
def test_who_has_seen_its_end_is_told_so(served, create):
    run_id = create()
    served.client.post(f"/api/assistant-runs/{run_id}/cancel")
    count = served.client.get(f"/api/assistant-runs/{run_id}/events").json()["total_count"]
    answer = served.client.get(RUN_STREAM.format(run_id), params={"offset": count})
    assert answer.status_code == 204


@pytest.mark.usefixtures("lasting")
def test_a_run_that_was_deleted_is_gone(served, create):
    run_id = create()
    assert served.client.delete(f"/api/assistant-runs/{run_id}").status_code == 204
    assert served.client.get(RUN_STREAM.format(run_id)).status_code == 404


@pytest.mark.usefixtures("lasting")
def test_the_log_line_of_its_stream_names_it(served, create, looked_up, request_lines):
    run_id = create()
    served.client.post(f"/api/assistant-runs/{run_id}/cancel")
    assert served.frames(run_id)
    assert looked_up == []

    def line_of_stream():  # it is written once the stream is over
        return next((line for line in request_lines if line["path"] == RUN_STREAM.format(run_id)), None)

    assert wait_until(line_of_stream, what="its line")["run_id"] == run_id
