"""Google's Gemini models."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from google import genai
from google.genai.models import Models
from google.genai.types import Candidate, GenerateContentResponse, HttpOptions
from griptape.drivers.prompt.google import GooglePromptDriver
from griptape.tokenizers import GoogleTokenizer

from worker.executors.connections import ssl_context
from worker.executors.providers.completeness import checked
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer


class GeminiModels:
    """The part of the library's client that the framework calls."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def generate_content_stream(self, **request: Any) -> Iterator[GenerateContentResponse]:
        chunks = self._models.generate_content_stream(**request)
        for chunk in checked(chunks, _is_last):
            for candidate in chunk.candidates or ():
                _drop_empty_parts(candidate)
            yield chunk


def _is_last(chunk: GenerateContentResponse) -> bool:
    return any(candidate.finish_reason for candidate in chunk.candidates or ())


def _drop_empty_parts(candidate: Candidate) -> None:
    """Gemini may end with a part of no text, on which the framework breaks."""
    if candidate.content and candidate.content.parts:
        parts = candidate.content.parts
        candidate.content.parts = [part for part in parts if part.text != "" or part.function_call]


def build(setup: Setup) -> GooglePromptDriver:
    """Make the driver, from GOOGLE_API_KEY or GEMINI_API_KEY, and GOOGLE_GEMINI_BASE_URL."""
    key = setup.require("GOOGLE_API_KEY", "GEMINI_API_KEY")
    trust = ssl_context()
    options = HttpOptions(
        httpx_client=setup.connections.http_client(),
        # Never used; without it the library reads the certificates anew for each run, twice.
        async_client_args={"verify": trust, "ssl": trust},
    )
    client = genai.Client(api_key=key, http_options=options)
    return GooglePromptDriver(
        model=setup.model,
        api_key=key,
        client=cast("genai.Client", SimpleNamespace(models=GeminiModels(client.models))),
        tokenizer=estimating_tokenizer(setup.model, GoogleTokenizer),
        stream=True,
    )
