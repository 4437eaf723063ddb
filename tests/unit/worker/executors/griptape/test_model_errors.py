"""What an exception out of a model call means."""

import httpx2
import pytest

from worker.executors.griptape.model_errors import MAX_WORDS, model_error


class RefusalError(Exception):
    def __init__(self, status: int, body: object) -> None:
        super().__init__(f"Error code: {status}")
        self.status_code = status
        self.body = body


def message(error: Exception) -> str:
    return str(model_error("acme/m", error, silence=5, has_begun=False))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Too  many\nrequests"}}, "Too many requests"),
        ({"message": "Too many requests"}, "Too many requests"),
        ({"error": "Too many requests"}, "Too many requests"),
        ({"detail": "Too many requests"}, "Too many requests"),
        ("Too many requests", "Too many requests"),
        ("<html>502</html>", "Too Many Requests"),
        ({"error": {"message": 5}}, "Too Many Requests"),
        (None, "Too Many Requests"),
        ("x" * 1_000, "x" * (MAX_WORDS - 1) + "…"),
    ],
)
def test_the_providers_own_words_are_found(body, words) -> None:
    assert message(RefusalError(429, body)) == f"acme/m refused the request (status 429): {words}"


def test_a_redirect_is_named() -> None:
    response = httpx2.Response(307, headers={"location": "https://elsewhere.example/v1"})
    error = RefusalError(307, None)
    error.response = response  # type: ignore[attr-defined]  # as the libraries have it

    told = model_error("acme/m", error, silence=5, has_begun=False)

    assert str(told).endswith("(status 307): it redirects to https://elsewhere.example/v1")
    assert told.is_configuration


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_only_a_call_whose_answer_has_not_begun_may_be_repeated(status) -> None:
    error = RefusalError(status, None)

    assert model_error("acme/m", error, silence=5, has_begun=False).is_transient
    assert not model_error("acme/m", error, silence=5, has_begun=True).is_transient


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_that_stays_one_is_not_repeated(status) -> None:
    assert not model_error("acme/m", RefusalError(status, None), silence=5, has_begun=False).is_transient


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (httpx2.ReadTimeout("t"), "acme/m sent nothing for 5 seconds and was given up."),
        (httpx2.ConnectTimeout("too slow"), "acme/m cannot be reached: too slow"),
        (httpx2.ConnectError("refused"), "acme/m cannot be reached: refused"),
        (httpx2.ReadError("reset"), "acme/m broke off its answer."),
        (httpx2.UnsupportedProtocol("no scheme"), "acme/m cannot be called: no scheme"),
        (KeyError("choices"), "acme/m failed: wrapped"),
    ],
)
def test_the_cause_counts_and_not_what_a_library_wraps_it_in(cause, expected) -> None:
    error = RuntimeError("wrapped")
    error.__cause__ = cause

    assert message(error) == expected


def test_an_exception_without_words_is_named() -> None:
    assert message(AssertionError()) == "acme/m failed: AssertionError"
