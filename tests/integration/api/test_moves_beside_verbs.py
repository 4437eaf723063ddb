"""Every verb on a run while a worker moves it: the answer tells what the run is after the move."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from shared.db import unit_of_work
from shared.lifecycle import TERMINAL, Reason, RunKind, RunStatus, StatusDetail
from shared.models import Run
from shared.runs import moves
from tests.integration.api.openapi import DIALECTS, documents, operations
from tests.integration.api.test_verb_races import HONEST, body_of
from tests.integration.api.world import World
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER

WHILE = 0.1  # seconds that a move goes on after the request was sent: it reads what is about to change

DETAIL = StatusDetail(Reason.COMPLETED, "It is done.")
ANSWER = {"type": "TextArtifact", "value": "Hello"}

MOVES = {
    "claim": (RunStatus.QUEUED, partial(moves.claim, attempt=1, worker=WORKER, lease_ttl=LEASE)),
    "start": (RunStatus.STARTING, partial(moves.start, attempt=1)),
    "succeed": (RunStatus.RUNNING, partial(moves.succeed, attempt=1, detail=DETAIL, output=ANSWER)),
    "break": (RunStatus.RUNNING, partial(moves.break_, attempt=1, detail=DETAIL)),
    "requeue": (RunStatus.RUNNING, partial(moves.requeue, attempt=1, detail=DETAIL)),
}
"""Each move of a worker or of the reconciler: from which status, and the call."""

NAMES = {
    "assistant_run_id": RunKind.ASSISTANT,
    "run_id": RunKind.ASSISTANT,
    "structure_run_id": RunKind.STRUCTURE,
}
"""The parameters that name a run, each with the kind that the worlds below have of it."""


def verbs():
    """All that can be asked of a run, by dialect."""
    for dialect, prefix in DIALECTS.items():
        for operation in operations(documents()[prefix], prefix):
            named = NAMES.keys() & operation.parameters("path")
            if operation.is_keyed and named and "stream" not in operation.path:
                yield pytest.param(operation, *named, id=f"{dialect}-{operation.name}")


@pytest.mark.parametrize(("operation", "name"), list(verbs()))
def test_a_verb_beside_a_move_is_answered_honestly(served, factories, committed_sessions, operation, name):
    world = World(served.client, factories)
    make_run = factories.run if NAMES[name] is RunKind.ASSISTANT else factories.structure_run
    lies = []
    for move, (status, call) in MOVES.items():
        run = make_run(world.principal, status=status)
        url = operation.url.format_map(world.ids_in(operation.prefix) | {name: str(run.id)})
        ask = partial(
            served.client.request,
            operation.method,
            url,
            headers=world.headers,
            json=body_of(operation, world),
        )
        with ThreadPoolExecutor(1) as callers:
            with unit_of_work(committed_sessions) as session:
                moved = call(session, RecordingDispatcher(), run.id)
                asked = callers.submit(ask)
                time.sleep(WHILE)
            answer = asked.result()
        if answer.status_code not in HONEST:
            lies.append(f"{move}: {answer.status_code}: {answer.text[:200]}")
        if is_cancel(operation):
            with committed_sessions() as session:
                found = session.get_one(Run, run.id).status
            assert found is (moved.status if moved.status in TERMINAL else RunStatus.CANCELLED)
            assert answer.json().get("status", found) == found
    assert lies == []


def is_cancel(operation):
    return operation.method == "POST" and "cancel" in operation.path
