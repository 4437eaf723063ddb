"""The real clients, connected to one `runyard dev`."""

import uuid

import pytest

from tests.conformance.generated import VERSIONS, connected, route


@pytest.fixture(scope="module", params=VERSIONS)
def api(request, stack):
    """The generated client, in each of its versions."""
    version = request.param
    with connected(version, stack.file["api_url"] + route(version), stack.file["api_key"]) as api:
        yield api


@pytest.fixture
def new(api):
    """Create something by the generated client."""

    def new(kind, *path, **fields):
        operation = f"create_{kind}"
        return api.call(operation, *path, body=api.body(operation, **fields))

    return new


@pytest.fixture
def unique():
    """A text that is nowhere else."""
    return f"unique-{uuid.uuid4()}"


@pytest.fixture
def cloud(stack):
    """What every driver of the framework wants to know."""
    return {"base_url": stack.file["api_url"], "api_key": stack.file["api_key"]}


@pytest.fixture
def prompts(llm):
    """The requests to the model whose last message holds a text: their messages, oldest first."""

    def prompts(text):
        requests = [request["body"]["messages"] for request in llm.records.requests]
        return [messages for messages in requests if text in str(messages[-1]["content"])]

    return prompts
