"""Keys of providers: sent without their line ends, told to nobody, and to no other address."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.integration.worker.executors.griptape.test_answers import PROVIDERS
from tests.support.llm_script import Reply, said
from worker import credentials
from worker.executors.base import Failed, InvalidConfigurationError, Succeeded

KEYS = {
    "openai": "OPENAI_API_KEY",
    "azure-openai": "AZURE_OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "cohere": "COHERE_API_KEY",
    "google": "GOOGLE_API_KEY",
    "ollama": "OLLAMA_API_KEY",
    "amazon-bedrock": "AWS_SECRET_ACCESS_KEY",
}
SECRET = "sk-SECRETSECRETSECRET"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\r\n", f" \t{SECRET} "])
def test_space_and_line_ends_around_a_key_do_no_harm(stub, execution, monkeypatch, provider, value) -> None:
    monkeypatch.setenv(KEYS[provider], value)

    assert isinstance(execution(f"{provider}/words-3").run().outcome, Succeeded)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "value", ["sk-SECRET\r\nSECRET", "sk-SECRET\x01SECRET", "sk-SECRET\u2028SECRET", "sk-SECRET€"]
)
def test_a_key_that_cannot_be_sent_is_an_error_that_names_its_variable(
    stub, execution, monkeypatch, provider, value
) -> None:
    monkeypatch.setenv(KEYS[provider], value)

    outcome = execution(f"{provider}/words-3").run().outcome

    assert isinstance(outcome, InvalidConfigurationError)
    assert KEYS[provider] in str(outcome)
    assert "SECRET" not in str(outcome).replace(KEYS[provider], "")


def test_keys_are_tidied_where_they_stand_and_unfit_ones_named() -> None:
    environment = {"OPENAI_API_KEY": " sk-fine\n", "CO_API_KEY": "sk-\x00SECRET", "OTHER": "as it is\n"}

    (unfit,) = credentials.tidy(environment)

    assert environment == {"OPENAI_API_KEY": "sk-fine", "CO_API_KEY": "sk-\x00SECRET", "OTHER": "as it is\n"}
    assert unfit.variable == "CO_API_KEY"
    assert "SECRET" not in str(unfit)


class Redirecting(BaseHTTPRequestHandler):
    """Sends every request elsewhere."""

    location: ClassVar[str] = ""
    status: ClassVar[int] = 307

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(self.status)
        self.send_header("location", self.location + self.path)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def redirecting(location: str, status: int) -> Generator[str]:
    handler = type("Handler", (Redirecting,), {"location": location, "status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


ADDRESSES = {
    "openai": ("OPENAI_BASE_URL", "/v1"),
    "azure-openai": ("AZURE_OPENAI_ENDPOINT", ""),
    "anthropic": ("ANTHROPIC_BASE_URL", ""),
    "cohere": ("CO_API_URL", ""),
    "google": ("GOOGLE_GEMINI_BASE_URL", ""),
    "ollama": ("OLLAMA_HOST", ""),
    "amazon-bedrock": ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_to_another_address_is_refused_and_named(
    stub, execution, monkeypatch, provider, status
) -> None:
    name, path = ADDRESSES[provider]
    with redirecting(stub.root, status) as address:
        monkeypatch.setenv(name, address + path)
        outcome = execution(f"{provider}/words-3").run().outcome

    assert isinstance(outcome, Failed)
    assert outcome.reason == "ModelFailed"
    assert stub.root in outcome.message
    assert stub.records.requests == []


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1", "http://localhost", "//evil.test", "http://[", "ftp://x"]
)
def test_another_scheme_or_host_is_another_address(stub, execution, monkeypatch, location) -> None:
    with redirecting(location, 307) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")
        outcome = execution("openai/words-3").run().outcome

    assert isinstance(outcome, Failed)
    assert "sends the request elsewhere" in outcome.message


def test_a_redirect_within_an_address_is_followed(stub, execution, monkeypatch) -> None:
    with redirecting("/again", 307) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")
        outcome = execution("openai/words-3").run().outcome

    assert isinstance(outcome, Failed)
    assert outcome.message == "openai/words-3 redirects the request again and again."


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_body_of_a_redirect_is_not_read(script, execution, provider) -> None:
    sent: list[int] = []

    def page():
        for number in range(1_000):
            sent.append(number)
            yield b" " * 65_536

    script.replies = [Reply(page(), 307, {"Location": "/again"}), said("Hi")]

    execution(f"{provider}/m").run()

    assert len(script.requests) == 2
    assert len(sent) < 500
