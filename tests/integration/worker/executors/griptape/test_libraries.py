"""The providers' own libraries: they read what the stub sends, and are loaded before any run.

Each is imported by its own test: together they take a second, and every test process collects this module.
"""

import json
import os
import subprocess
import sys
from typing import Any, Final

import httpx
import openai
import pytest

from tests.support.llm_dialects import USAGE

WORDS: Final = "word0 word1 word2 "
ASKED: Final[Any] = [{"role": "user", "content": "Hi"}]


def read_openai(client: openai.OpenAI) -> tuple[str, Any]:
    chunks = list(client.chat.completions.create(model="words-3", messages=ASKED, stream=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    [usage] = [chunk.usage for chunk in chunks if chunk.usage]
    return text, (usage.prompt_tokens, usage.completion_tokens)


def read_anthropic() -> tuple[str, Any]:
    import anthropic  # noqa: PLC0415

    with (
        anthropic.Anthropic() as client,
        client.messages.stream(model="words-3", max_tokens=9, messages=ASKED) as stream,
    ):
        message = stream.get_final_message()
    return message.content[0].text, (message.usage.input_tokens, message.usage.output_tokens)


def read_ollama() -> tuple[str, Any]:
    import ollama  # noqa: PLC0415

    client = ollama.Client()
    chunks = list(client.chat(model="words-3", messages=ASKED, stream=True))
    client.close()
    return "".join(chunk.message.content or "" for chunk in chunks), (
        chunks[-1].prompt_eval_count,
        chunks[-1].eval_count,
    )


def read_cohere() -> tuple[str, Any]:
    import cohere  # noqa: PLC0415

    with httpx.Client() as http_client:
        client = cohere.ClientV2(
            os.environ["COHERE_API_KEY"], base_url=os.environ["CO_API_URL"], httpx_client=http_client
        )
        parts = list(client.chat_stream(model="words-3", messages=ASKED))
    text = "".join(part.delta.message.content.text for part in parts if part.type == "content-delta")
    [end] = [part for part in parts if part.type == "message-end"]
    return text, (end.delta.usage.tokens.input_tokens, end.delta.usage.tokens.output_tokens)


def read_google() -> tuple[str, Any]:
    from google import genai  # noqa: PLC0415
    from google.genai.types import HttpOptions  # noqa: PLC0415

    options = HttpOptions(base_url=os.environ["GOOGLE_GEMINI_BASE_URL"])
    with genai.Client(api_key="google-test", http_options=options) as client:
        chunks = list(client.models.generate_content_stream(model="words-3", contents="Hi"))
    usage = chunks[-1].usage_metadata
    assert usage is not None
    text = "".join(chunk.text or "" for chunk in chunks)
    return text, (usage.prompt_token_count, usage.candidates_token_count)


def read_bedrock() -> tuple[str, Any]:
    import boto3  # noqa: PLC0415

    client = boto3.client("bedrock-runtime")
    asked = [{"role": "user", "content": [{"text": "Hi"}]}]
    events = list(client.converse_stream(modelId="words-3", messages=asked)["stream"])
    client.close()
    text = "".join(
        event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event
    )
    usage = events[-1]["metadata"]["usage"]
    return text, (usage["inputTokens"], usage["outputTokens"])


def test_openais_library_reads_the_stub(stub) -> None:
    with openai.OpenAI() as client:
        assert read_openai(client) == (WORDS, USAGE)


def test_openais_library_reads_the_stub_as_azure(stub) -> None:
    with openai.AzureOpenAI(api_version="2024-10-21") as client:
        assert read_openai(client) == (WORDS, USAGE)


@pytest.mark.parametrize("read", [read_anthropic, read_ollama, read_cohere, read_google, read_bedrock])
def test_a_providers_library_reads_the_stub(stub, read) -> None:
    assert read() == (WORDS, USAGE)


PROGRAM: Final = """
import json, sys, uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from worker.cancellation import CancelToken
from worker.executors import registry
from worker.executors.base import CallableStructure, RunContext

registry.warm_up()
before = set(sys.modules)
structure = CallableStructure("Sample", "Says.", lambda args: {"type": "TextArtifact", "value": "said"})

def execute(model):
    context = RunContext(
        run_id=uuid.uuid4(), assistant_id=None, assistant_name="", attempt=1, model=model, input="Hi",
        args=(), stream=True, max_duration=timedelta(minutes=1), token=CancelToken(), structures=(structure,),
    )
    return str(registry.resolve(model)(context, lambda event: None))

models = [f"{provider}/words-2" for provider in sorted(registry.FRAMEWORK_PROVIDERS)] + ["openai/tool"]
with ThreadPoolExecutor(len(models)) as pool:
    outcomes = list(pool.map(execute, models))
print(json.dumps({"outcomes": outcomes, "imported": sorted(set(sys.modules) - before)}))
"""


def test_no_run_imports_anything_of_a_provider(stub) -> None:
    """The first runs of a process, of all providers at once."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=110, check=False
    )

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert all(outcome.startswith("Succeeded(") for outcome in found["outcomes"]), found["outcomes"]
    assert [name for name in found["imported"] if not name.startswith("encodings.")] == []


def test_a_provider_without_its_key_is_not_loaded_and_says_what_it_needs() -> None:
    program = """
import sys
from worker.executors import registry
registry.warm_up()
print([name for name in ("cohere", "anthropic", "google.genai", "openai") if name in sys.modules])
"""
    kept = {name: value for name, value in os.environ.items() if "KEY" not in name and "TOKEN" not in name}
    kept.pop("OPENAI_BASE_URL", None)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=kept
    )

    assert ran.stdout.strip() == "[]", ran.stderr
