"""The watsonx Orchestrate dialect as its callers see it."""

import uuid

import pytest

from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus, StatusDetail, Trigger
from shared.models import Run
from shared.runs import moves, receipts, transitions
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER

PREFIXES = ("/api/v1", "/v1")
ANSWER = {"type": "TextArtifact", "value": "So it goes"}


@pytest.fixture(params=PREFIXES)
def base(request):
    return request.param


@pytest.fixture
def agent(make_assistant):
    return str(make_assistant().id)


@pytest.fixture
def create(client, agent):
    def create(base="/api/v1", **fields):
        body = {"message": {"role": "user", "content": "Listen"}, "agent_id": agent, **fields}
        answer = client.post(f"{base}/orchestrate/runs", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return create


@pytest.fixture
def move(exclusive_sessions, dispatcher):
    """Bring a run into a status as its worker would."""

    def move(run_id, *triggers, reason=Reason.MODEL_FAILED):
        with unit_of_work(exclusive_sessions) as session:
            run = session.get_one(Run, uuid.UUID(run_id))
            for trigger in triggers:
                if trigger is Trigger.CLAIM:
                    moves.claim(
                        session,
                        RecordingDispatcher(),
                        run.id,
                        attempt=run.attempt + 1,
                        worker=WORKER,
                        lease_ttl=LEASE,
                    )
                elif trigger is Trigger.SUCCEED:
                    models = {"words-2": {"input_tokens": 3, "output_tokens": 4}}
                    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "models": models}
                    detail = StatusDetail(Reason.COMPLETED, "The assistant answered.")
                    done = {"prompt": "Listen", "output": ANSWER, "usage": usage}
                    moves.succeed(session, dispatcher, run.id, attempt=run.attempt, detail=detail, **done)
                elif trigger is Trigger.CANCEL:
                    detail = receipts.cancel_detail(requested_by="me")
                    transitions.apply(session, run.id, trigger, detail=detail)
                else:
                    detail = {"reason": reason, "message": "It broke."}
                    attempt = run.attempt + (run.status is RunStatus.QUEUED)  # held, or waited for
                    transitions.apply(session, run.id, trigger, attempt=attempt, detail=detail)

    return move
