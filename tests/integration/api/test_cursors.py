"""Lists that are walked by cursors: each item once, whatever comes and goes, and nobody else's."""

import base64
import uuid

import pytest

from api.watsonx.paging import NEXT_CURSOR
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Installation

HEADER = NEXT_CURSOR.lower()


@pytest.fixture
def assistant(make_assistant):
    return make_assistant()


@pytest.fixture
def structure(factories):
    return factories.structure()


@pytest.fixture
def grow(client, assistant, structure, make_run, factories):
    """Lists of every kind that grows: where, under which key, by which id, and how one more is made."""

    def post(path, **fields):
        answer = client.post(path, json={"name": "x", **fields})
        assert answer.is_success
        return answer.json()

    def run():
        return str(make_run(assistant=assistant).id)

    def structure_run():
        return str(factories.structure_run(structure=structure).id)

    def thread():
        return post("/api/threads")["thread_id"]

    deployments = f"/api/structures/{structure.id}/deployments"
    user = f"/api/users/{client.get('/api/users').json()['users'][0]['user_id']}/api-keys"
    return {
        f"/api/assistants/{assistant.id}/runs": ("assistant_runs", "assistant_run_id", run),
        "/api/assistant-runs": ("assistant_runs", "assistant_run_id", run),
        f"/api/structures/{structure.id}/runs": ("structure_runs", "structure_run_id", structure_run),
        "/api/structure-runs": ("structure_runs", "structure_run_id", structure_run),
        "/v1/orchestrate/runs": ("data", "id", run),
        "/v1/orchestrate/runs?order=desc": ("data", "id", run),
        f"/v1/assistants/{assistant.id}/runs": (None, "id", run),
        "/api/threads": ("threads", "thread_id", thread),
        "/v1/threads": (None, "id", thread),
        "/api/assistants": ("assistants", "assistant_id", lambda: post("/api/assistants")["assistant_id"]),
        "/v1/agents": (None, "id", lambda: post("/api/assistants")["assistant_id"]),
        "/api/structures": ("structures", "structure_id", lambda: post("/api/structures")["structure_id"]),
        "/v1/tools": (None, "id", lambda: post("/api/structures")["structure_id"]),
        "/api/rulesets": ("rulesets", "ruleset_id", lambda: post("/api/rulesets")["ruleset_id"]),
        deployments: ("deployments", "deployment_id", lambda: post(deployments)["deployment_id"]),
        user: ("api_keys", "api_key_id", lambda: post(user)["api_key_id"]),
    }


def read(client, path, key, **query):
    """A part of a list, and where it goes on."""
    size = {"page_size" if path.startswith("/api/") else "limit": 2}
    path, _, order = path.partition("?order=")
    answer = client.get(path, params=size | query | ({"order": order} if order else {}))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if key is None:
        return body, answer.headers.get(HEADER)
    return body[key], (body if key == "data" else body["pagination"]).get("next_cursor")


def test_a_walk_sees_each_item_once_while_others_come(client, grow):
    for path, (key, name, make) in grow.items():
        made = {make() for _ in range(5)}
        seen, cursor = [], ""
        while cursor is not None:
            part, cursor = read(client, path, key, cursor=cursor)
            assert len(part) <= 2
            seen += [item[name] for item in part]
            if len(seen) < 8:
                make()  # anywhere, as all are of one moment
        assert len(seen) == len(set(seen)), path
        assert made <= set(seen), path


def test_where_a_page_would_show_a_run_twice_a_cursor_does_not(client, make_run, sessions):
    for _ in range(4):
        make_run()
    for path, key, name in (
        ("/api/assistant-runs", "assistant_runs", "assistant_run_id"),
        ("/v1/orchestrate/runs?order=desc", "data", "id"),
    ):
        with unit_of_work(sessions) as session:  # what is made next is newer
            session.connection().exec_driver_sql("UPDATE runs SET created_at = created_at - interval '1 h'")
        first, cursor = read(client, path, key)
        make_run()
        make_run()
        by_page = read(client, path, key, **({"page": 2} if path.startswith("/api") else {"offset": 2}))[0]
        by_cursor = read(client, path, key, cursor=cursor)[0]
        shown = {run[name] for run in first}
        assert shown & {run[name] for run in by_page}
        assert not shown & {run[name] for run in by_cursor}
        assert len(by_cursor) == 2


def test_a_page_says_where_a_walk_goes_on(client, grow):
    for path, (key, name, make) in grow.items():
        for _ in range(5):
            make()
        first, cursor = read(client, path, key)
        second, _ = read(client, path, key, cursor=cursor)
        by_page = {"page": 2} if path.startswith("/api/") else {"offset": 2}
        assert [item[name] for item in second] == [
            item[name] for item in read(client, path, key, **by_page)[0]
        ]
        assert not {item[name] for item in first} & {item[name] for item in second}


def test_at_the_end_there_is_no_cursor(client, grow):
    for path, (key, _name, make) in grow.items():
        make()
        size = {"page_size" if path.startswith("/api/") else "limit": 1000}
        assert read(client, path, key, **size)[1] is None
        assert read(client, path, key, **size, cursor="")[1] is None


def refused(client, path, **query):
    path, _, order = path.partition("?order=")
    answer = client.get(path, params=query | ({"order": order} if order else {}))
    is_griptape = path.startswith("/api/") and not path.startswith("/api/v1")
    assert answer.status_code == (400 if is_griptape else 422), answer.text
    body = answer.json()
    if is_griptape:
        assert body["errors"][0]["path"] == "query.cursor"
    else:
        assert body["detail"][0]["loc"] == ["query", "cursor"]
    return True


def test_a_cursor_that_was_not_made_here_is_refused(client, grow):
    for path, (key, _name, make) in grow.items():
        for _ in range(3):
            make()
        _, cursor = read(client, path, key)
        sealed = bytearray(base64.urlsafe_b64decode(cursor + "="))
        for place in (0, 5, 20, len(sealed) - 1):
            forged = bytearray(sealed)
            forged[place] ^= 1
            assert refused(client, path, cursor=base64.urlsafe_b64encode(forged).decode().rstrip("="))
        for wrong in ("x", "ö", "%00", cursor[:-4], cursor + cursor, "A" * 55, "A" * 500):
            assert refused(client, path, cursor=wrong)


def test_a_cursor_is_good_for_its_own_list_and_filters_only(client, assistant, make_assistant, make_run):
    other = make_assistant()
    for _ in range(3):
        make_run(assistant=assistant)
        make_run(assistant=other)
    path = f"/api/assistants/{assistant.id}/runs"
    _, cursor = read(client, path, "assistant_runs", status="QUEUED", thread_id="")
    assert read(client, path, "assistant_runs", cursor=cursor, status="QUEUED", page_size=1)[0]
    assert refused(client, path, cursor=cursor)
    assert refused(client, path, cursor=cursor, status="RUNNING")
    assert refused(client, path, cursor=cursor, status="QUEUED", **{"metadata[a]": ""})
    assert refused(client, path, cursor=cursor, status="QUEUED", created_after="2020-01-01T00:00:00Z")
    assert refused(client, f"/api/assistants/{other.id}/runs", cursor=cursor, status="QUEUED")
    assert refused(client, "/api/assistant-runs", cursor=cursor, status="QUEUED")
    _, ascending = read(client, "/v1/orchestrate/runs", "data")
    assert refused(client, "/v1/orchestrate/runs", cursor=ascending, order="desc")
    assert refused(client, f"/v1/assistants/{assistant.id}/runs", cursor=ascending)


def test_what_nobody_reads_does_not_matter_to_a_cursor(client, make_run):
    for _ in range(3):
        make_run()
    _, cursor = read(client, "/api/assistant-runs", "assistant_runs", _=1)
    assert read(client, "/api/assistant-runs", "assistant_runs", _=2, cursor=cursor)[0]


def test_another_organizations_cursor_is_refused(client, grow, as_stranger):
    for path, (key, _name, make) in grow.items():
        if str(uuid.UUID(int=0))[8] in path.split("?")[0].removeprefix("/api/").replace("-runs", ""):
            continue  # a path with an id of ours is a 404 for them anyway
        for _ in range(3):
            make()
        _, cursor = read(client, path, key)
        name = "limit" if path.startswith("/v1") else "page_size"
        plain, _, order = path.partition("?order=")
        query = {"cursor": cursor, name: 2} | ({"order": order} if order else {})
        answer = client.get(plain, params=query, headers=as_stranger)
        assert answer.status_code in {400, 422}, path


def test_a_cursor_of_another_installation_is_refused(client, sessions, make_run):
    for _ in range(3):
        make_run()
    _, cursor = read(client, "/api/assistant-runs", "assistant_runs")
    with unit_of_work(sessions) as session:
        session.get_one(Installation, True).channel_secret = b"another" * 5  # its key
    assert refused(client, "/api/assistant-runs", cursor=cursor)


def test_a_cursor_and_a_page_are_not_given_together(client, make_run):
    for _ in range(3):
        make_run()
    _, cursor = read(client, "/api/assistant-runs", "assistant_runs")
    assert refused(client, "/api/assistant-runs", cursor=cursor, page=2)
    _, cursor = read(client, "/v1/orchestrate/runs", "data")
    assert refused(client, "/v1/orchestrate/runs", cursor=cursor, offset=2)


def test_a_walk_goes_on_although_the_run_it_stood_at_has_moved_or_gone(client, make_run, sessions):
    runs = [make_run() for _ in range(6)]
    query = {"status": "QUEUED"}
    first, cursor = read(client, "/api/assistant-runs", "assistant_runs", **query)
    for run in first:
        client.post(f"/api/assistant-runs/{run['assistant_run_id']}/cancel")
    second, cursor = read(client, "/api/assistant-runs", "assistant_runs", cursor=cursor, **query)
    with unit_of_work(sessions) as session:
        for run in second:
            session.connection().exec_driver_sql(
                "DELETE FROM runs WHERE id = %s", (uuid.UUID(run["assistant_run_id"]),)
            )
    third, cursor = read(client, "/api/assistant-runs", "assistant_runs", cursor=cursor, **query)
    assert cursor is None
    assert [run["assistant_run_id"] for run in (*first, *second, *third)] == [
        str(run.id) for run in sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    ]


def test_runs_of_one_moment_are_walked_through_as_well(client, make_run, sessions):
    runs = {str(make_run(status=RunStatus.SUCCEEDED).id) for _ in range(7)}
    with unit_of_work(sessions) as session:
        session.connection().exec_driver_sql("UPDATE runs SET created_at = '2026-01-01'")
    assistant = client.get("/api/assistants").json()["assistants"][0]["assistant_id"]
    for path, key, name in (
        ("/api/assistant-runs", "assistant_runs", "assistant_run_id"),
        (f"/api/assistants/{assistant}/runs", "assistant_runs", "assistant_run_id"),
        ("/v1/orchestrate/runs", "data", "id"),
    ):
        seen, cursor = [], ""
        while cursor is not None:
            part, cursor = read(client, path, key, cursor=cursor)
            seen += [item[name] for item in part]
        assert sorted(seen) == sorted(runs)


def test_a_walk_counts_nothing(client, make_run):
    make_run()
    assert client.get("/api/assistant-runs?cursor=").json()["pagination"] == {"page_size": 100}
    page = client.get("/v1/orchestrate/runs?cursor=").json()
    assert (page["total"], page["next_cursor"]) == (None, None)
