"""What moves of runs add to the metrics."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.db import unit_of_work
from shared.lifecycle import RunKind
from shared.metrics import instruments
from shared.processes.metrics import OwnMetrics
from shared.runs import moves
from shared.runs.together import Move
from worker.process.process import show_queues

QUEUES = {RunKind.ASSISTANT: "fast", RunKind.STRUCTURE: "programs"}
LEASE = timedelta(minutes=5)


@pytest.fixture
def source() -> Iterator[OwnMetrics]:
    yield OwnMetrics()
    instruments.stop()


def claims(source):
    """The runs that were claimed, by kind and queue."""
    return {
        (sample.labels["kind"], sample.labels["queue"]): sample.value
        for family in text_string_to_metric_families(source.render().decode())
        for sample in family.samples
        if sample.name == "runyard_queue_wait_seconds_count"
    }


@pytest.fixture
def queued(sessions, dispatcher):
    dispatcher.queue_of = QUEUES

    def claim(run):
        with unit_of_work(sessions) as session:
            moves.claim(session, dispatcher, run.id, attempt=1, worker="w", lease_ttl=LEASE)

    return claim


def test_the_wait_of_a_run_is_that_of_the_queue_of_its_kind(source, queued, factories):
    queued(factories.run())
    queued(factories.structure_run())
    assert claims(source) == {("assistant", "fast"): 1, ("structure", "programs"): 1}


def test_the_waits_of_runs_that_begin_together_are_those_of_their_queue(
    source, sessions, dispatcher, factories
):
    dispatcher.queue_of = QUEUES
    runs = [factories.run() for _ in range(3)]
    with unit_of_work(sessions) as session:
        begins = [Move(run.id, 1, worker="w") for run in runs]
        moves.store_together(session, dispatcher, begins=begins, lease_ttl=LEASE)
    assert claims(source) == {("assistant", "fast"): 3}


def test_a_run_that_no_worker_executes_tells_nothing_of_a_queue(source, dispatcher, factories):
    dispatcher.queue_of = QUEUES
    factories.structure_run(is_external=True)
    assert claims(source) == {}


@pytest.mark.parametrize(
    ("taken", "shown"),
    [
        ({"fast", "more"}, {("assistant", "fast"): 0}),
        ({"programs"}, {("structure", "programs"): 0}),
        ({"fast", "programs"}, {("assistant", "fast"): 0, ("structure", "programs"): 0}),
    ],
)
def test_a_worker_shows_the_queues_from_which_it_takes_before_it_takes_any(source, settings, taken, shown):
    show_queues(settings.model_copy(update={"run_queue": "fast", "structure_queue": "programs"}), taken)
    assert claims(source) == shown
