"""The framework's structure-run, event-listener and observability drivers, against a running stack."""

import time

import pytest
from griptape.artifacts import ErrorArtifact, TextArtifact
from griptape.drivers.structure_run.griptape_cloud import GriptapeCloudStructureRunDriver

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def create_structure(stack, llm):
    def create(folder, **env):
        variables = {"OPENAI_BASE_URL": llm.openai_url, "OPENAI_API_KEY": "sk-stub", **env}
        body = {
            "name": folder,
            "code": {"default": {"folder": folder}},
            "env_vars": [{"name": name, "value": value} for name, value in variables.items()],
        }
        answer = stack.client.post("/api/structures", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["structure_id"]

    return create


@pytest.fixture
def driver(cloud):
    def driver(structure_id, **options):
        return GriptapeCloudStructureRunDriver(structure_id=structure_id, **cloud, **options)

    return driver


def last_run(stack, structure_id):
    return stack.client.get(f"/api/structures/{structure_id}/runs").json()["structure_runs"][0]


@pytest.mark.parametrize("batched", ["yes", "no"])
def test_an_agent_in_a_structure_answers_through_the_drivers(stack, create_structure, driver, batched):
    """The real event listener driver reports a real agent's events, and the run driver gives its answer."""
    structure_id = create_structure("agent", BATCHED=batched)
    output = driver(structure_id).run(TextArtifact("Hello"))
    assert isinstance(output, TextArtifact)
    assert output.value
    run = last_run(stack, structure_id)
    assert (run["status"], run["args"]) == ("SUCCEEDED", ["Hello"])
    assert run["output"]["value"] == output.value
    url = f"/api/structure-runs/{run['structure_run_id']}"
    events = stack.client.get(f"{url}/events").json()["events"]
    said = [event["type"] for event in events if event["origin"] == "USER"]
    assert said[0] == "StartStructureRunEvent"
    assert "FinishPromptEvent" in said
    assert said[-1] == "FinishStructureRunEvent"
    assert events[-1]["type"] == "StructureRunCompleted"
    assert events[-1]["payload"]["status_detail"]["exit_code"] == 0


def test_spans_of_the_observability_driver_are_kept(stack, create_structure, driver):
    structure_id = create_structure("agent", OBSERVED="yes")
    driver(structure_id).run(TextArtifact("Hello"))
    url = f"/api/structure-runs/{last_run(stack, structure_id)['structure_run_id']}/spans"
    spans = stack.client.get(url).json()["spans"]
    assert spans
    assert {span["status"] for span in spans} <= {"OK", "UNSET"}


def test_a_program_that_fails_is_an_error_artifact(stack, create_structure, driver):
    structure_id = create_structure("broken")
    output = driver(structure_id).run(TextArtifact("3"))
    assert isinstance(output, ErrorArtifact)
    assert "exited with code 3" in output.value
    run = last_run(stack, structure_id)
    assert (run["status"], run["status_detail"]["exit_code"]) == ("FAILED", 3)
    url = f"/api/structure-runs/{run['structure_run_id']}/logs"
    assert "it broke" in stack.client.get(url).json()["logs"]


def test_code_that_is_not_executed_here_is_an_error_artifact(stack, driver):
    code = {"github": {"owner": "me", "name": "mine", "push": {"branch": "main"}}}
    answer = stack.client.post("/api/structures", json={"name": "elsewhere", "code": code})
    output = driver(answer.json()["structure_id"]).run(TextArtifact("x"))
    assert isinstance(output, ErrorArtifact)
    assert "not executed here" in output.value


def test_a_run_is_created_without_waiting_for_it(stack, create_structure, driver):
    structure_id = create_structure("broken")
    output = driver(structure_id, async_run=True).run(TextArtifact("0"))
    assert "started" in output.value
    deadline = time.monotonic() + 60
    while last_run(stack, structure_id)["status"] not in {"SUCCEEDED", "FAILED", "ERROR"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert last_run(stack, structure_id)["status"] == "SUCCEEDED"
