"""The key of a structure run's attempt: it reports of that attempt alone."""

import uuid

import pytest

from shared.db import unit_of_work
from shared.keys.service import create_run_key
from shared.lifecycle import RunStatus
from shared.models import Run

SPAN = {"trace_id": "t", "span_id": "s", "name": "n"}
FINISH = {"type": "FinishStructureRunEvent", "timestamp": 1, "payload": {"id": "1"}}
REPORTS = {"events": FINISH, "spans": [SPAN], "complete": {}}


@pytest.fixture
def run(factories, client):
    del client  # who makes its key known as that of the factories' principal
    return factories.structure_run(status=RunStatus.RUNNING)


@pytest.fixture
def report(client, sessions, run):
    """Report something, with that run's key."""
    with unit_of_work(sessions) as session:
        secret = create_run_key(session, session.get_one(Run, run.id))

    def report(run_id, what):
        headers = {"Authorization": f"Bearer {secret}"}
        return client.post(f"/api/structure-runs/{run_id}/{what}", json=REPORTS[what], headers=headers)

    return report


@pytest.mark.parametrize(("what", "status"), [("events", 202), ("spans", 200), ("complete", 409)])
def test_it_reports_of_its_run(report, run, what, status):
    """Which ends with its program: it cannot complete itself."""
    assert report(run.id, what).status_code == status


@pytest.mark.parametrize("what", REPORTS)
def test_it_reports_of_no_other_run(client, factories, report, what):
    other = factories.structure_run(is_external=True)
    url = f"/api/structure-runs/{other.id}"
    before = [client.get(f"{url}{below}").text for below in ("", "/events", "/spans")]
    answer = report(other.id, what)
    assert (answer.status_code, answer.json()["type"]) == (409, "Conflict")
    assert [client.get(f"{url}{below}").text for below in ("", "/events", "/spans")] == before


@pytest.mark.parametrize("what", REPORTS)
def test_to_it_an_unknown_run_is_a_404(report, what):
    assert report(uuid.uuid4(), what).status_code == 404
