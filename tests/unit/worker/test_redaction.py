"""No secret of the environment in what people read, whatever was made of it."""

import base64
import html
import json
import os
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from shared.settings import Settings
from worker.executors.griptape.model_errors import MAX_WORDS, model_error
from worker.process import signals
from worker.redaction import MAX_LENGTH, redact

KEY = "sk-proj-Zq8/xY+w9=tUvR3nMb5Kc7Ld"
AWKWARD = "sk-'quoted\"&<key>\\ü%/secret"


def told(text: str, key: str) -> bool:
    """Whether a text gives a key away, or a part of it that is long enough."""
    return any(key[start : start + 12] in text for start in range(len(key) - 11))


@pytest.fixture(params=[KEY, AWKWARD, f"{KEY}\r\n", f"\n {KEY}"], ids=["key", "awkward", "after", "before"])
def key(request, monkeypatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", request.param)
    return request.param


FORMS = {
    "plain": lambda key: key,
    "bytes": lambda key: f"Illegal header value {f'Bearer {key}'.encode()!r}",
    "repr": lambda key: f"Illegal header value {f'Bearer {key}'!r}",
    "json": lambda key: json.dumps({"error": f"bad key {key}"}),
    "json-in-json": lambda key: json.dumps({"error": json.dumps({"inner": repr(key)})}),
    "url": lambda key: f"https://x.test/?key={quote(key, safe='')}&alt=sse",
    "form": lambda key: f"https://x.test/?key={quote_plus(key)}",
    "path": lambda key: f"https://x.test/{quote(key)}",
    "html": lambda key: f"<p>{html.escape(key)}</p>",
    "basic": lambda key: "Basic " + base64.b64encode(f"user:{key}".encode()).decode(),
    "basic-shifted": lambda key: "Basic " + base64.b64encode(f"user1:{key}".encode()).decode(),
    "basic-without-user": lambda key: "Basic " + base64.b64encode(f":{key}".encode()).decode(),
    "base64-of-urls": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_key_is_redacted_in_every_form(key, form) -> None:
    message = form(key)

    clean = redact(message)

    assert "[OPENAI_API_KEY]" in clean
    forms = (key.strip(), repr(key.strip())[1:-1], html.escape(key.strip()), quote(key.strip(), safe=""))
    assert not any(told(clean, one) for one in forms)
    assert base64.b64encode(key.strip().encode()).decode()[4:24] not in clean


def test_a_key_with_a_line_end_within_is_redacted_in_both_parts(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-half-1234\r\nsecond-half-56789")

    assert (
        redact("Illegal header value b'Bearer sk-first-half-1234\\r\\nsecond-half-56789'").count("half") == 0
    )
    assert redact("sk-first-half-1234 then second-half-56789") == "[OPENAI_API_KEY] then [OPENAI_API_KEY]"


@pytest.mark.parametrize("kept", range(12, len(KEY)))
def test_a_part_that_somebody_else_cut_off_is_redacted(monkeypatch, kept) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert redact(f"bad key {KEY[:kept]}") == "bad key [OPENAI_API_KEY]"
    assert redact(f"{KEY[-kept:]} is bad") == "[OPENAI_API_KEY] is bad"


@pytest.mark.parametrize("before", [*range(MAX_LENGTH - len(KEY) - 2, MAX_LENGTH + 2)])
def test_a_message_is_cut_after_it_is_redacted(monkeypatch, before) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    message = redact("x" * before + KEY + "y" * 50)

    assert "sk-" not in message
    assert len(message) <= MAX_LENGTH


@pytest.mark.parametrize("before", [*range(MAX_WORDS - len(KEY) - 30, MAX_WORDS + 2)])
def test_a_providers_words_are_cut_after_they_are_redacted(monkeypatch, before) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    error = Exception("x" * before + KEY + "y" * 500)

    message = str(model_error("acme/m", error, silence=5, has_begun=False))

    assert "sk-" not in redact(message)


def test_a_label_that_looks_like_the_key_ends_the_search(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "[OPENAI_API_KEY] itself")

    assert "itself" not in redact("[OPENAI_API_KEY] itself")
    assert redact("x" * 50, 10) == "x" * 9 + "…"


def test_the_password_of_an_address_is_redacted_too(monkeypatch) -> None:
    monkeypatch.setenv("RUNYARD_DATABASE_URL", "postgresql://runyard:s%2Fcret-word@db:5432/runyard")

    assert "cret-word" not in redact('connection failed: user "runyard" password "s/cret-word"')
    assert redact("see postgresql://elsewhere") == "see postgresql://elsewhere"


LOGGING = """
import logging
from shared.logs import configure_logging
from shared.settings import get_settings
from functools import partial
from worker.redaction import redact

configure_logging(get_settings(), process="test", redact=partial(redact, limit=None))
try:
    raise ValueError("Illegal header value b'Bearer sk-proj-line-end-12345\\\\n'")
except ValueError:
    logging.getLogger("lib").exception("call failed with sk-proj-line-end-12345\\n")
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_key_gets_into_a_log_line_or_a_traceback(log_format) -> None:
    environment = {
        "OPENAI_API_KEY": "sk-proj-line-end-12345\n",
        "RUNYARD_DATABASE_URL": "postgresql://nowhere/none",
        "RUNYARD_REDIS_URL": "redis://nowhere",
        "RUNYARD_LOG_FORMAT": log_format,
    }
    command = [sys.executable, "-P", "-c", LOGGING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert "ValueError" in done.stderr
    assert done.stderr.count("[OPENAI_API_KEY]") >= 2
    assert "line-end" not in done.stderr


def test_a_worker_strips_its_keys_at_start_and_names_the_unfit_ones(monkeypatch) -> None:
    told = []
    settings = Settings(database_url="none://", redis_url="none://", structure_sandbox="none")
    monkeypatch.setattr(signals, "warm_up", lambda: None)
    monkeypatch.setattr(signals, "get_settings", lambda: settings)
    monkeypatch.setattr(signals.log, "error", lambda event, **fields: told.append((event, fields)))
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("COHERE_API_KEY", f"{KEY}\n{KEY}")

    signals.on_worker_init()

    assert os.environ["OPENAI_API_KEY"] == KEY
    ((event, fields),) = told
    assert (event, fields["variable"]) == ("provider key unusable", "COHERE_API_KEY")
    assert KEY not in str(told)


def test_a_log_line_is_redacted_and_not_cut(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert redact("x" * 5000 + KEY, limit=None) == "x" * 5000 + "[OPENAI_API_KEY]"
