"""An executor and a guardrail of another distribution, on the real database."""

import pytest

from shared.extensions import installed_executors, installed_guardrails
from shared.lifecycle import Reason, RunStatus
from shared.models import Run
from tests.support.checkout import ROOT
from tests.support.slots import FakeSlot
from worker.attempt import resources as worker_resources
from worker.attempt.execution import execute

BLOCK = {"no_cats": {"input": {"enabled": True, "threshold": 0.5}, "output": {"enabled": True}}}
MASK = {"no_cats": {**BLOCK["no_cats"], "mask": {"remove_entity_value": True}}}


@pytest.fixture(autouse=True)
def _toy_is_installed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "support" / "toy")
    for installed in (installed_executors, installed_guardrails):
        installed.cache_clear()
    yield
    for installed in (installed_executors, installed_guardrails):
        installed.cache_clear()


@pytest.fixture
def run_to_its_end(committed_settings, committed_sessions, make_run):
    """Execute a run of the toy, and read it."""
    resources = worker_resources.make(committed_settings)

    def run_to_its_end(**request):
        run = make_run(**{"model": "toy/upper", **request})
        execute(resources, run.id, 1, FakeSlot())
        with committed_sessions() as session:
            return session.get_one(Run, run.id)

    yield run_to_its_end
    resources.close()


def test_an_executor_of_another_distribution_answers_a_run(run_to_its_end):
    run = run_to_its_end(input="two words")
    assert (run.status, run.output["value"]) == (RunStatus.SUCCEEDED, "TWO WORDS")
    tokens = {"input_tokens": 2, "output_tokens": 2}
    assert run.usage == {**tokens, "total_tokens": 4, "model_calls": 1, "models": {"toy/upper": tokens}}


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"model": "toy/unknown"}, RunStatus.ERROR, Reason.INVALID_CONFIGURATION),
        ({"input": ""}, RunStatus.FAILED, Reason.MODEL_REFUSED),
        ({"input": "a cat", "guardrails": BLOCK}, RunStatus.FAILED, Reason.GUARDRAIL_BLOCKED),
    ],
    ids=["its configuration error", "its failure", "a guardrail's finding"],
)
def test_a_run_of_it_ends_as_the_extension_says(run_to_its_end, request_, status, reason):
    run = run_to_its_end(**request_)
    assert (run.status, run.status_detail["reason"]) == (status, reason)


def test_a_guardrail_of_another_distribution_masks_its_findings(run_to_its_end):
    run = run_to_its_end(input="a cat and a dog", guardrails=MASK)
    assert (run.status, run.output["value"]) == (RunStatus.SUCCEEDED, "A [CAT] AND A DOG")
    assert run.status_detail["masked"] == {"input": {"no_cats": ["CAT"]}}
