"""A typed client that openapi-python-client generates from `/openapi.json` works, without any change."""

import json
import subprocess
import sys

import pytest

from tests.conformance.outside import execute, folder

GENERATOR = "openapi-python-client-0.29.1"

EXAMPLE = """
import sys

from runyard_client import AuthenticatedClient
from runyard_client.api.assistant_runs import (
    cancel_assistant_run,
    create_assistant_run,
    get_assistant_run,
)
from runyard_client.api.assistants import create_assistant
from runyard_client.models import AssistantCreate, RunCreate

url, key = sys.argv[1:3]
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)

# An assistant, and a run of it.
assistant = create_assistant.sync(client=client, body=AssistantCreate(name="greeter"))
request = RunCreate(input_="Say hello", model=sys.argv[3])
run = create_assistant_run.sync(assistant.assistant_id, client=client, body=request)

# Wait for its end; one request waits for at most 50 seconds.
while run.completed_at is None:
    run = get_assistant_run.sync(run.assistant_run_id, client=client, wait=30)

# Cancel another one.
request = RunCreate(input_="Take your time", model=sys.argv[4])
other = create_assistant_run.sync(assistant.assistant_id, client=client, body=request)
cancelled = cancel_assistant_run.sync(other.assistant_run_id, client=client)
"""
"""The example of docs/griptape-api.md, with the models as arguments."""


@pytest.fixture(scope="module")
def client(stack, tmp_path_factory):
    """A folder with the package `runyard_client`, made of the document that the server serves."""
    home = tmp_path_factory.mktemp("generated")
    document = home / "openapi.json"
    document.write_bytes(stack.client.get("/openapi.json").content)
    config = home / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    options = {"path": document, "output-path": home / "runyard_client", "config": config, "meta": "none"}
    done = subprocess.run(
        [
            *(sys.executable, "-S", "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        env={"PYTHONPATH": str(folder(GENERATOR)), "HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_it_creates_a_run_waits_for_it_and_cancels_one(stack, client):
    program = f"import json, sys; sys.path.append({str(client)!r})\n" + EXAMPLE + SHOW
    url, key = stack.file["api_url"], stack.file["api_key"]
    models = ("openai/words-5", "openai/hang")
    run, other = execute(GENERATOR, "", program, url, key, *models, home=client)
    assert run["status"] == "SUCCEEDED"
    assert run["output"]["value"]
    stack.wait_for(other["assistant_run_id"], "CANCELLED")


SHOW = """
print(json.dumps([run.to_dict(), cancelled.to_dict()]))
"""


def test_a_refusal_is_a_typed_error(stack, client):
    program = f"""
    import json, sys
    sys.path.append({str(client)!r})
    from uuid import UUID
    from runyard_client import AuthenticatedClient
    from runyard_client.api.assistant_runs import get_assistant_run
    from runyard_client.models import ErrorBody

    client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
    answer = get_assistant_run.sync_detailed(UUID(int=0), client=client)
    assert isinstance(answer.parsed, ErrorBody)
    print(json.dumps([answer.status_code, answer.parsed.errors[0].type_]))
    """
    url, key = stack.file["api_url"], stack.file["api_key"]
    assert execute(GENERATOR, "", program, url, key, home=client) == [404, "RunNotFound"]
