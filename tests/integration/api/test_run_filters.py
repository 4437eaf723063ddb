"""Lists of runs, narrowed: by thread, time, kind, status and metadata, in both dialects."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus
from shared.models import Run

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def assistant(make_assistant):
    return make_assistant()


@pytest.fixture
def runs(client, assistant, make_run, sessions):
    """Three runs, an hour apart: the first on a thread, the second with metadata, the third failed."""
    thread = uuid.UUID(client.post("/api/threads", json={"name": "x"}).json()["thread_id"])
    made = [
        make_run(assistant=assistant, thread_id=thread, status=RunStatus.SUCCEEDED),
        make_run(assistant=assistant, metadata={"team": "red", "colour": "a:b"}),
        make_run(assistant=assistant, status=RunStatus.FAILED, metadata={"team": "red"}),
    ]
    with unit_of_work(sessions) as session:
        for hours, run in enumerate(made):
            session.get_one(Run, run.id).created_at = T0 + timedelta(hours=hours)
            session.connection().exec_driver_sql(
                "UPDATE run_metadata SET created_at = %s WHERE run_id = %s",
                (T0 + timedelta(hours=hours), run.id),
            )
    return made


@pytest.fixture
def lists(client, assistant, runs):
    """Ask each list of runs, and answer with the numbers of those it shows and with its total."""

    def ask(query, **params):
        found = []
        for path, key, name in (
            (f"/api/assistants/{assistant.id}/runs", "assistant_runs", "assistant_run_id"),
            ("/api/assistant-runs", "assistant_runs", "assistant_run_id"),
            ("/v1/orchestrate/runs", "data", "id"),
            ("/v1/orchestrate/runs?order=desc", "data", "id"),
            (f"/api/v1/assistants/{assistant.id}/runs", None, "id"),
        ):
            joint = "&" if "?" in path else "?"
            answer = client.get(f"{path}{joint}{query}")
            assert answer.status_code == 200, answer.text
            assert "x-runyard-ignored" not in answer.headers
            body = answer.json()
            items = body if key is None else body[key]
            numbers = [[str(run.id) for run in runs].index(item[name]) for item in items]
            total = body.get("total", len(items)) if key == "data" else len(items)
            if key == "assistant_runs":
                total = body["pagination"]["total_count"]
            assert total == len(numbers)
            found.append(sorted(numbers))
            walked = client.get(f"{path}{joint}{query}&cursor=").json()
            assert [item[name] for item in (walked if key is None else walked[key])] == [
                item[name] for item in items
            ]
        assert all(numbers == found[0] for numbers in found), found
        return found[0]

    return ask


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2]),
        ("thread_id=&created_after=&created_before=&kind=&type=&metadata=", [0, 1, 2]),
        ("created_after=2026-01-01T00:00:00Z", [1, 2]),
        ("created_after=2026-01-01T01:30:00%2B01:00", [1, 2]),
        ("created_after=2026-01-01T01:30:00+01:00", [1, 2]),
        ("created_after=2026-01-01T00:30:00", [1, 2]),
        ("created_before=2026-01-01T01:00:00Z", [0]),
        ("created_before=2026-01-02", [0, 1, 2]),
        ("created_after=2026-01-01T00:30:00Z&created_before=2026-01-01T01:30:00Z", [1]),
        ("created_after=2027-01-01T00:00:00Z", []),
        ("kind=assistant", [0, 1, 2]),
        ("type=assistant", [0, 1, 2]),
        ("kind=structure", []),
        ("type=structure", []),
        ("metadata[team]=red", [1, 2]),
        ("metadata=team:red", [1, 2]),
        ("metadata=%7B%22team%22%3A%22red%22%7D", [1, 2]),
        ("metadata[team]=red&metadata[colour]=a:b", [1]),
        ("metadata=team:red&metadata=colour:a:b", [1]),
        ("metadata[team]=blue", []),
        ("metadata[team]=", []),
        ("metadata[team]=red&created_before=2026-01-01T01:30:00Z", [1]),
    ],
)
def test_a_filter_shows_what_fits_and_nothing_else(lists, query, expected):
    assert lists(query) == expected


def test_runs_of_a_thread_are_listed(lists, runs):
    assert lists(f"thread_id={runs[0].thread_id}") == [0]
    assert lists(f"thread_id={uuid.uuid4()}") == []
    assert lists(f"thread_id={runs[0].thread_id}&metadata[team]=red") == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("SUCCEEDED", [0]),
        ("QUEUED,FAILED", [1, 2]),
        ("FAILED&metadata[team]=red", [2]),
        ("QUEUED&status=FAILED&created_before=2026-01-01T01:30:00Z", [1]),
    ],
)
def test_a_status_goes_with_other_filters(client, runs, status, expected):
    listed = client.get(f"/api/assistant-runs?status={status}").json()["assistant_runs"]
    ids = [str(run.id) for run in runs]
    assert sorted(ids.index(run["assistant_run_id"]) for run in listed) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("completed", {"completed"}),
        ("pending", {"pending"}),
        ("failed", {"failed"}),
        ("expired", {"expired"}),
        ("failed,expired", {"failed", "expired"}),
        ("cancelled&status=pending", {"cancelled", "pending"}),
        ("async_wait", set()),
        ("", {"completed", "pending", "running", "failed", "expired", "cancelled"}),
    ],
)
def test_statuses_of_the_other_dialect_are_its_own(client, make_run, sessions, status, expected):
    for own in RunStatus:
        make_run(status=own)
    late = make_run(status=RunStatus.ERROR)
    with unit_of_work(sessions) as session:
        session.get_one(Run, late.id).status_detail = {"reason": Reason.TIMED_OUT}
    answer = client.get(f"/v1/orchestrate/runs?status={status}").json()
    assert {run["status"] for run in answer["data"]} == expected
    assert answer["total"] == len(answer["data"])
    assert (late.id in {uuid.UUID(run["id"]) for run in answer["data"]}) == ("expired" in expected)


WRONG = [
    "created_after=yesterday",
    "created_before=2026-13-01T00:00:00Z",
    "created_after=0001-01-01T00:00:00%2B14:00",
    "created_after=9999-12-31T23:59:59-14:00",
    "created_before=99999999999999999999",
    "created_before=NaN",
    "thread_id=x",
    "thread_id=%00",
    "kind=other",
    "type=TextChunkEvent",
    "status=DONE",
    "metadata=x",
    "metadata={",
    "metadata=%7B%22a%22%3A1%7D",
    "metadata=[1]",
    "metadata[]=x",
    "metadata[a]=%00",
    "metadata[" + "a" * 65 + "]=x",
    "metadata[a]=" + "x" * 513,
    "&".join(f"metadata[{number}]=x" for number in range(17)),
    "order=sideways",
]


@pytest.mark.parametrize("query", WRONG)
def test_a_filter_that_says_nothing_is_refused_in_each_dialects_shape(client, assistant, query):
    ours = [f"/api/assistants/{assistant.id}/runs", "/api/assistant-runs", "/api/structure-runs"]
    theirs = ["/v1/orchestrate/runs", f"/v1/assistants/{assistant.id}/runs"]
    if query.startswith("order"):
        ours, theirs = [], theirs[:1]
    name = query.partition("=")[0].partition("[")[0]
    for path in ours:
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["path"].startswith(f"query.{name}")
    for path in theirs:
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 422, answer.text
        where, parameter, *_ = answer.json()["detail"][0]["loc"]
        assert where == "query"
        assert parameter.partition("[")[0] == name


def test_metadata_is_stored_and_shown(client, assistant, factories):
    structure = factories.structure()
    noted = {"team": "red", "": "x"}
    for path, name in (
        (f"/api/assistants/{assistant.id}/runs", "assistant_run_id"),
        (f"/api/structures/{structure.id}/runs", "structure_run_id"),
    ):
        assert client.post(path, json={"metadata": noted}).status_code == 400
        made = client.post(path, json={"metadata": {"team": "red"}})
        assert (made.status_code, made.json()["metadata"]) == (201, {"team": "red"})
        assert "x-runyard-ignored" not in made.headers
        one = client.get(f"/api/{name.removesuffix('_id').replace('_', '-')}s/{made.json()[name]}").json()
        assert one["metadata"] == {"team": "red"}
        listed = client.get(path, params={"metadata[team]": "red"}).json()
        assert [run[name] for run in listed[f"{name.removesuffix('_id')}s"]] == [made.json()[name]]
        assert client.post(path, json={"metadata": None}).json()["metadata"] == {}
    everything = client.get("/api/structure-runs?metadata=team:red&kind=structure").json()
    assert len(everything["structure_runs"]) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": 1},
        {"a": None},
        {"a": {"b": "c"}},
        [],
        "text",
        {"a" * 65: "x"},
        {"a": "x" * 513},
        {"a\n": "x"},
        {str(number): "x" for number in range(17)},
        {str(number): "ö" * 512 for number in range(16)},
    ],
    ids=repr,
)
def test_metadata_is_a_small_map_of_texts(client, assistant, metadata):
    own = f"/api/assistants/{assistant.id}"
    answers = [
        client.post(f"{own}/runs", json={"metadata": metadata}),
        client.post("/api/assistants", json={"name": "x", "metadata": metadata}),
        client.patch(own, json={"metadata": metadata}),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["path"].startswith("body.metadata")


def test_nobody_finds_runs_by_what_others_noted(client, runs, as_stranger):
    for path in ("/api/assistant-runs", "/v1/orchestrate/runs"):
        mine = client.get(f"{path}?metadata[team]=red").json()
        assert len(mine.get("assistant_runs") or mine.get("data")) == 2
        answer = client.get(f"{path}?metadata[team]=red", headers=as_stranger).json()
        assert answer.get("assistant_runs") or answer.get("data") or [] == []
        thread = client.get(f"{path}?thread_id={runs[0].thread_id}", headers=as_stranger).json()
        assert thread.get("assistant_runs") or thread.get("data") or [] == []


def test_a_deleted_run_leaves_no_metadata(sessions, runs):
    with unit_of_work(sessions) as session:
        connection = session.connection()
        connection.exec_driver_sql("DELETE FROM runs")
        assert connection.exec_driver_sql("SELECT count(*) FROM run_metadata").scalar() == 0
