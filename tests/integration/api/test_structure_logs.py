"""The output of a structure run's program."""

import pytest

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.structures.reports import append_lines

LINES = [f"line {number}" for number in range(1205)]


@pytest.fixture
def logs(client, factories, sessions):
    """Read the output of a run that has written `LINES`."""
    run = factories.structure_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        append_lines(session, run.id, [("stdout", line) for line in LINES], attempt=1)

    def logs(**query):
        answer = client.get(f"/api/structure-runs/{run.id}/logs", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return logs


@pytest.mark.parametrize("query", [{}, {"limit": ""}])
def test_all_lines_are_given_to_those_who_ask_for_no_page(logs, query):
    assert logs(**query) == {"logs": LINES, "total_count": 1205, "next_offset": 1205}


def test_a_limit_makes_it_a_page(logs):
    page = logs(limit=2, offset=3)
    assert page == {"logs": ["line 3", "line 4"], "total_count": 1205, "next_offset": 5}
    assert len(logs(limit=5000)["logs"]) == 1000


def test_an_offset_alone_is_the_rest(logs):
    assert logs(offset="1203.0")["logs"] == LINES[1203:]
    assert logs(offset=1205) == {"logs": [], "total_count": 1205, "next_offset": 1205}


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": "x"}, {"limit": -1}])
def test_other_limits_are_refused(client, factories, query):
    run = factories.structure_run()
    answer = client.get(f"/api/structure-runs/{run.id}/logs", params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("query.limit")
