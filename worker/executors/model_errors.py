"""What went wrong at a model provider, in words for people and in what follows from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from worker.redaction import shortened

MAX_WORDS: Final = 400  # characters of the provider's own message

_TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of failure: how it is told, and what follows from it."""

    verdict: str
    names: frozenset[str] = frozenset()  # of exceptions of httpx, httpx2, botocore, the providers' libraries
    quotes: bool = False  # whether the provider's own words follow
    is_configuration: bool = False
    is_transient: bool = False


_KINDS: Final = (
    _Kind(
        "sent nothing for {silence:g} seconds and was given up.",
        frozenset({"ReadTimeout", "ReadTimeoutError", "WriteTimeout"}),
    ),
    _Kind(
        "cannot be reached",
        frozenset({"ConnectError", "ConnectTimeout", "ProxyError", "EndpointConnectionError"}),
        quotes=True,
        is_transient=True,
    ),
    _Kind("sends the request elsewhere", frozenset({"RedirectRefusedError"}), quotes=True),
    _Kind(
        "broke off its answer.",
        frozenset({"NetworkError", "RemoteProtocolError", "AnswerIncompleteError", "SSLError"}),
        is_transient=True,
    ),
    _Kind("cannot be reached", frozenset({"ConnectionError"}), quotes=True, is_transient=True),  # ollama's
    _Kind(
        "answered with something that cannot be read.",
        frozenset(
            {"JSONDecodeError", "UnicodeDecodeError", "ValidationError", "DecodingError", "NoAnswerError"}
        ),
    ),
    _Kind(
        "cannot be called",
        frozenset(
            {
                "InvalidURL",
                "LocalProtocolError",
                "NoCredentialsError",
                "PartialCredentialsError",
                "UnsupportedProtocol",
            }
        ),
        quotes=True,
        is_configuration=True,
    ),
)
"""The first that has a name of the exception, its bases or its causes."""

_OTHER: Final = _Kind("failed", quotes=True)


class AnswerIncompleteError(Exception):
    """The provider ended its answer without saying that it was complete."""


class NoAnswerError(Exception):
    """What the provider sent is no answer, such as a web page."""


class ModelError(Exception):
    """A model call failed; the message is for people."""

    def __init__(
        self,
        message: str,
        *,
        is_configuration: bool = False,
        is_transient: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.is_configuration = is_configuration  # ours to mend: the key, the address, the model's name
        self.is_transient = is_transient  # it may well work at once
        self.retry_after = retry_after  # seconds that the provider asks for; 0 if it does not


def model_error(model: str, error: Exception, *, silence: float, has_begun: bool) -> ModelError:
    """Say what an exception out of a model call means.

    Args:
        model: the provider and the model.
        error: what its library or its driver raised.
        silence: seconds without a byte after which the provider was to be given up.
        has_begun: the answer had begun, so that a second call would repeat what callers have seen.
    """
    status = _status(error)
    kind, culprit = _kind_by_name(error) if status is None else (_kind_by_status(status), error)
    words = _words(culprit) if kind.quotes else ""
    return ModelError(
        f"{model} {kind.verdict.format(silence=silence)}{words}",
        is_configuration=kind.is_configuration,
        is_transient=kind.is_transient and not has_begun,
        retry_after=_retry_after(error),
    )


def _kind_by_name(error: Exception) -> tuple[_Kind, BaseException]:
    """The kind of an exception or of one that caused it, and that one."""
    links = [(link, {base.__name__ for base in type(link).__mro__}) for link in _chain(error)]
    return next(
        ((kind, link) for kind in _KINDS for link, names in links if kind.names & names),
        (_OTHER, error),
    )


def _kind_by_status(status: int) -> _Kind:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            verdict, is_configuration = "refuses the key it was called with", True
        case HTTPStatus.NOT_FOUND:
            verdict, is_configuration = "is not known at the address that was called", True
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            verdict, is_configuration = "failed", False
        case _:
            verdict, is_configuration = "refused the request", False
    return _Kind(
        f"{verdict} (status {status})",
        quotes=True,
        is_configuration=is_configuration,
        is_transient=status in _TRANSIENT_STATUSES,
    )


def _status(error: Exception) -> int | None:
    """The HTTP status of the provider's refusal, wherever its library keeps it."""
    for name in ("status_code", "code"):
        if isinstance(status := getattr(error, name, None), int):
            return status if status >= HTTPStatus.BAD_REQUEST else None
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    return None


def _retry_after(error: Exception) -> float:
    headers = getattr(getattr(error, "response", None), "headers", None)
    seconds = headers.get("retry-after", "") if isinstance(headers, Mapping) else ""
    return float(seconds) if seconds.isdecimal() else 0.0


def _words(error: BaseException) -> str:
    """The provider's own message, to follow ours; its kind of exception if there is none."""
    response = getattr(error, "response", None)
    for source in (getattr(error, "body", None), getattr(error, "error", None), response, str(error)):
        if text := " ".join(_message_in(source).split()):
            return f": {shortened(text, MAX_WORDS)}"
    return f": {type(error).__name__}"


def _message_in(source: Any) -> str:
    if isinstance(source, dict):
        return next((text for key in ("error", "Error", "message", "Message", "detail")
                     if (text := _message_in(source.get(key)))), "")  # fmt: skip
    if isinstance(source, str) and not source.lstrip().startswith("<"):  # a web page says nothing
        return source
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
