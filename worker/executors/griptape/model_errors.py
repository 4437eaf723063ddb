"""Errors of model providers: their messages for people, and whether to repeat the call."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from worker.executors.griptape.json_text import load
from worker.executors.griptape.pauses import asked_pause
from worker.redaction import redact

MAX_WORDS: Final = 400  # characters of the provider's own message
MAX_TOLD: Final = 64 * 1024  # characters of a refusal that are looked at: to look holds up the whole process
_LONGEST_CODE: Final = 3  # digits of a status

_INVALID_TOKEN: Final = 498  # of several gateways: a token that has expired meanwhile
_TRANSIENT_STATUSES: Final = frozenset({408, 409, 424, 425, 429, _INVALID_TOKEN})  # and all from 500 on
_FILTERED_STATUSES: Final = frozenset({400, 403, 422, 451})
_REFUSED_PARAMETER_STATUSES: Final = frozenset({400, 404, 405, 415, 422, 501})
_STATUSES_OF_OURS: Final = frozenset({401, 402, 403, 404, 413, 429})  # not of what a model does


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of failure: its message, and its consequences."""

    verdict: str
    names: frozenset[str] = frozenset()  # of exceptions of httpx, httpx2, botocore, the providers' libraries
    quotes: bool = False  # whether the provider's own words follow
    is_configuration: bool = False
    is_transient: bool = False


_KINDS: Final = (
    _Kind(
        "sent nothing for {silence:g} seconds and was given up.",
        frozenset({"ReadTimeout", "ReadTimeoutError"}),
    ),
    _Kind("did not take the request.", frozenset({"WriteTimeout"}), is_transient=True),
    _Kind(
        "cannot be reached",
        frozenset({"ConnectError", "ConnectTimeout", "ProxyError", "EndpointConnectionError"}),
        quotes=True,
        is_transient=True,
    ),
    _Kind("sends the request elsewhere", frozenset({"RedirectRefusedError"}), quotes=True),
    _Kind("redirects the request again and again.", frozenset({"TooManyRedirects"})),
    _Kind("answered with something that is no answer", frozenset({"UnexpectedTextError"}), quotes=True),
    _Kind("sent more than a run may hold, and was given up.", frozenset({"AnswerTooLongError"})),
    _Kind("sent an empty answer.", frozenset({"EmptyAnswerError"}), is_transient=True),
    _Kind(
        "broke off its answer.",
        frozenset({"NetworkError", "RemoteProtocolError", "AnswerIncompleteError", "SSLError"}),
        is_transient=True,
    ),
    _Kind("cannot be reached", frozenset({"ConnectionError"}), quotes=True, is_transient=True),
    _Kind(
        "answered with something that cannot be read.",
        frozenset(
            {
                "DecodingError",
                "JSONDecodeError",
                "NoAnswerError",
                "ParserError",  # botocore's, of frames that are none
                "RecursionError",  # of JSON that botocore reads
                "UnicodeDecodeError",
                "ValidationError",
            }
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

_MEANINGS: Final[Mapping[str, int]] = {
    "api_error": 500,
    "aborted": 409,
    "authentication_error": 401,
    "badrequesterror": 400,
    "deadline_exceeded": 504,
    "internal": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "internalserverexception": 500,
    "generation": 500,
    "incomplete_generation": 500,
    "invalid_argument": 400,
    "invalid_request_error": 400,
    "model_overloaded": 503,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "not_found_error": 404,
    "overloaded": 529,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "requests": 429,
    "resource_exhausted": 429,
    "server_error": 500,
    "server_overloaded": 503,
    "service_unavailable": 503,
    "service_unavailable_error": 503,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "timeout": 504,
    "timeout_error": 504,
    "tokens": 429,
    "too_many_requests": 429,
    "unavailable": 503,
    "validation": 400,
    "validationexception": 400,
}
"""What the names of errors say, in the place of a status: an error within an answer has none."""

_SOUNDS_BUSY: Final = re.compile(
    r"overload|rate.?limit|too many requests|at capacity|over capacity|no capacity|temporarily|try again"
    r"|unavailable|busy",
    re.IGNORECASE,
)
_IS_LIMITED: Final = re.compile(r"overloaded|rate.?limit|too many requests", re.IGNORECASE)
"""Words that leave no doubt, whatever status an error within an answer claims."""

_WONT_PASS: Final = re.compile(
    r"insufficient_quota|billing_|credit balance|payment|insufficient.{0,20}balance|per.?day", re.IGNORECASE
)
"""Refusals for want of money have the status of a pause that would end."""

_MAY_NOT_PASS: Final = re.compile(r"exceeded your current quota", re.IGNORECASE)
"""The same, unless it says when to ask again: the words are those of a limit by the minute, too."""

_FILTERED: Final = re.compile(
    r"content.?filter|content.?policy|content management policy|responsible_?ai|moderation|was flagged"
    r"|been flagged|content exists risk|data_?inspection_?failed|inappropriate content|safety system"
    r"|considered high risk|blocked by (?:our |the )?(?:content|safety)"
    r"|violat\w{1,9} (?:of )?(?:\w+ ){0,3}(?:usage|safety|acceptable use) (?:polic|guideline)",
    re.IGNORECASE,
)
"""A prompt that is filtered is refused with the status of one that is malformed."""

_SLIP: Final = re.compile(
    r"tool_use_failed|failed_generation|failed to call a function|tool call validation failed"
    r"|(?:error|failed to|failed|could not|cannot) (?:parse|parsing) (?:the )?(?:tool|function)"
    r"|invalid sequence as part of tool ?use"
    r"|(?:malformed|invalid|unexpected).(?:function|tool).(?:call|use)\b",
    re.IGNORECASE,
)
"""What servers say that could not read the call of a tool that their model made."""

_TOO_LONG: Final = re.compile(
    r"context.?(length|window|size|limit)|prompt.{0,20}too long|input.{0,20}too long|too many (input )?tokens"
    r"|maximum context|max(imum)? (input|prompt|number of tokens)|input token count|reduce the length"
    r"|prompt_too_long|request_too_large|string_above_max_length|exceeds? the (maximum|available|model)",
    re.IGNORECASE,
)


class AnswerIncompleteError(Exception):
    """The provider ended its answer without saying that it was complete."""


class EmptyAnswerError(Exception):
    """The provider sent an empty response with a status of success."""


class NoAnswerError(Exception):
    """The provider's response is no answer."""


class UnexpectedTextError(NoAnswerError):
    """The provider's response is plain text, such as a web page or the message of a proxy."""


class AnswerTooLongError(Exception):
    """The provider's answer is larger than a worker may hold."""


class RefusalError(Exception):
    """The provider answered with a status of failure."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str]) -> None:
        super().__init__(_phrase(status))
        self.status_code = status
        self.headers = headers
        self.body = _parsed(body)


class ToldError(Exception):
    """The provider sent an error inside an answer that had begun."""

    def __init__(self, body: Any, fallback: int | None = None) -> None:
        """Make it.

        Args:
            body: what was told.
            fallback: the status it has if it says none.
        """
        super().__init__("")
        self.body = body
        self.told_status = _told_status(body) or fallback


class ModelError(Exception):
    """A model call failed; the message is for people."""

    def __init__(
        self,
        message: str,
        *,
        is_configuration: bool = False,
        is_transient: bool = False,
        is_refusal: bool = False,
        retry_after: float = 0.0,
        detail: Mapping[str, Any] | None = None,
        cause: "Cause | None" = None,
    ) -> None:
        super().__init__(message)
        self.is_configuration = is_configuration  # ours to mend: the key, the address, the model's name
        self.is_transient = is_transient  # it may well work at once
        self.is_refusal = is_refusal  # the model, or its filter, would not answer
        self.retry_after = retry_after  # seconds that the provider asks for; 0 if it does not
        self.detail = detail or {}  # what else `status_detail` is to say
        self.cause = cause or Cause()


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a refusal."""

    words: str = ""  # everything that the provider said, for programs
    body: Any = None  # the same, as JSON
    names_parameters: bool = False  # it may be about one part of the request
    is_busy: bool = False  # it has too much to do, which passes with time
    is_down: bool = False  # it failed as servers do that are restarted or repaired, which passes with time
    is_slip: bool = False  # its model made a call of a tool that it could not read
    is_too_long: bool = False  # the conversation does not fit into the model


def model_error(model: str, error: Exception, *, silence: float, has_begun: bool) -> ModelError:
    """Classify an exception of a model call.

    Args:
        model: the provider and the model.
        error: what its library or its driver raised.
        silence: seconds without a byte after which the call fails.
        has_begun: the answer had begun, so that a second call would repeat what callers have seen.
    """
    refusal = next((link for link in _chain(error) if isinstance(link, RefusalError)), None)
    error = refusal or error  # whatever a library makes of it
    status = _status(error)
    told = status or getattr(error, "told_status", None)
    everything = _everything(error)
    kind, culprit = _kind_by_name(error) if told is None else (_kind_by_status(told, status), error)
    is_told = isinstance(error, ToldError)
    if is_told and told is None:
        kind = _Kind("failed", quotes=True, is_transient=_SOUNDS_BUSY.search(everything) is not None)
    is_refusal = (told in _FILTERED_STATUSES or (is_told and told is None)) and (
        _FILTERED.search(everything) is not None
    )
    if is_refusal:
        kind = _Kind("refused to answer", quotes=True)
    words = _words(culprit) if kind.quotes else ""
    pause = asked_pause(_headers(error), getattr(error, "body", None), everything)
    is_slip = _SLIP.search(everything) is not None and told not in _STATUSES_OF_OURS
    is_limited = is_told and status is None and _IS_LIMITED.search(everything) is not None
    is_hopeless = _WONT_PASS.search(everything) or (not pause and _MAY_NOT_PASS.search(everything))
    will_pass = (kind.is_transient or is_slip or is_limited) and not (is_hopeless or is_refusal)
    return ModelError(
        f"{model} {kind.verdict.format(silence=silence)}{words}",
        is_configuration=kind.is_configuration,
        is_transient=will_pass and not has_begun,
        is_refusal=is_refusal,
        retry_after=pause,
        cause=Cause(
            words=everything,
            body=getattr(error, "body", None),
            names_parameters=told in _REFUSED_PARAMETER_STATUSES,
            is_busy=will_pass and not is_slip and (is_limited or _is_busy(told, everything)),
            is_down=will_pass and not is_slip and (status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR,
            is_slip=will_pass and is_slip,
            is_too_long=(told in {400, 413, 422, 500} and _TOO_LONG.search(everything) is not None)
            or told == HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ),
    )


def has_words(frame: Mapping[str, Any]) -> bool:
    """Whether a response that is no answer holds any text."""
    return bool(_message_in(frame))


def _is_busy(told: int | None, words: str) -> bool:
    """Whether the provider is overloaded; a server that failed or is away is not."""
    if told is None or told == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _SOUNDS_BUSY.search(words) is not None
    return True


def _kind_by_name(error: Exception) -> tuple[_Kind, BaseException]:
    """Return the kind of an exception or of one of its causes, and that exception."""
    links = [(link, {base.__name__ for base in type(link).__mro__}) for link in _chain(error)]
    return next(
        ((kind, link) for kind in _KINDS for link, names in links if kind.names & names),
        (_OTHER, error),
    )


def _kind_by_status(status: int, shown: int | None) -> _Kind:
    """Return the kind of a status; `shown` is None if the provider's message says it."""
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            verdict, is_configuration = "refuses the key it was called with", True
        case HTTPStatus.NOT_FOUND:
            verdict, is_configuration = "is not known at the address that was called", True
        case _ if status < HTTPStatus.BAD_REQUEST:
            verdict, is_configuration = "is elsewhere than at the address that was called", True
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            verdict, is_configuration = "failed", False
        case _:
            verdict, is_configuration = "refused the request", False
    return _Kind(
        f"{verdict} (status {shown})" if shown else verdict,
        quotes=True,
        is_configuration=is_configuration,
        is_transient=status in _TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a refusal, wherever the provider's library keeps it."""
    for name in ("status_code", "code"):
        if isinstance(status := getattr(error, name, None), int):
            return status if status >= HTTPStatus.MULTIPLE_CHOICES else None
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) and status >= HTTPStatus.MULTIPLE_CHOICES else None
    return None


def _told_status(body: Any) -> int | None:
    """Return the status of an error inside an answer, by its code or its name."""
    for place in _places(body):
        for key in ("code", "status", "status_code", "type", "__type", "error_type"):
            value = place.get(key)
            if isinstance(value, str) and len(value) <= _LONGEST_CODE and value.isdecimal():
                value = int(value)
            if isinstance(value, int) and HTTPStatus.BAD_REQUEST <= value < 600:  # noqa: PLR2004  # of HTTP
                return value
            if isinstance(value, str) and (known := _MEANINGS.get(value.lower())):
                return known
    return None


def _places(body: Any) -> Iterator[dict[str, Any]]:
    """Return the objects of an error, the innermost first."""
    if isinstance(body, list):
        for each in body:
            yield from _places(each)
    if isinstance(body, dict):
        for key in ("error", "Error", "base_resp"):
            yield from _places(body.get(key))
        yield body


def _headers(error: BaseException) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    else:
        found = getattr(response, "headers", None) or getattr(error, "headers", None)
    return found if isinstance(found, Mapping) else {}


def _sources(error: BaseException) -> Iterator[Any]:
    for name in ("body", "error", "response"):
        yield getattr(error, name, None)
    places = _places(getattr(error, "body", None))
    codes = (place.get(key) for place in places for key in ("code", "type", "status"))
    yield next((code for code in codes if isinstance(code, str) and code), "")
    yield without_address(error)


def without_address(error: BaseException) -> str:
    """What an exception says; of an address that is none, no part: it may be one of a password."""
    return str(error).partition(":")[0] if type(error).__name__ == "InvalidURL" else str(error)


def _words(error: BaseException) -> str:
    """Return the provider's message, or the name of the exception."""
    if (status := _status(error)) and status < HTTPStatus.BAD_REQUEST:
        headers = {str(name).lower(): value for name, value in _headers(error).items()}
        if location := headers.get("location"):
            return f": it redirects to {redact(location, MAX_WORDS)}"
    for source in _sources(error):
        if text := " ".join(_message_in(source)[:MAX_TOLD].split()):
            return f": {redact(text, MAX_WORDS)}"
    return f": {_phrase(status) if status else type(error).__name__}"


def _everything(error: Exception) -> str:
    """Return the text of an error, names of parameters included, as far as it is looked at."""
    body = next(
        (source for source in _sources(error) if isinstance(source, dict | list | str) and source), ""
    )
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    return text[:MAX_TOLD]


_MESSAGES: Final = (
    "error", "Error", "errors", "message", "Message", "detail", "details", "msg", "error_description",
    "error_message", "errorMessage", "error_msg", "errorMsg", "status_msg", "base_resp", "faultstring",
    "fault", "failure", "reason", "description", "title",
)  # fmt: skip
"""Where messages are, the most telling first."""

_MOST_MESSAGES: Final = 5  # of a list


def _message_in(source: Any) -> str:
    match source:
        case dict():
            found = next((text for key in _MESSAGES if (text := _message_in(source.get(key)))), "")
            place = source.get("loc")
            if found and isinstance(place, list | tuple):
                found = f"{'.'.join(map(str, place))}: {found}"
            said = ""
            if isinstance(gateway := source.get("metadata"), dict):  # with what the provider behind it said
                raw = _message_in(gateway.get("raw"))
                name = gateway.get("provider_name")
                said = f"{name}: {raw}" if raw and isinstance(name, str) else raw
            return ": ".join(filter(None, (found, said)))
        case list():
            return "; ".join(filter(None, map(_message_in, source[:_MOST_MESSAGES])))
        case str() if source.lstrip().startswith(("{", "[")) and (inner := _parsed(source)) is not source:
            return _message_in(inner) or source
        case str() if source.lstrip().startswith("<"):
            return page_title(source)
        case str() if not _SAYS_NOTHING.fullmatch(source):
            return source
        case _:
            return ""


_SAYS_NOTHING: Final = re.compile(r"\s*|Error code: \d+|success|ok", re.IGNORECASE)
_TITLE: Final = re.compile(r"<(title|h1)\b[^<>]*>([^<]+)</\1", re.IGNORECASE)


def page_title(page: str) -> str:
    """Return the title of a web page; a proxy's page has its error there."""
    found = _TITLE.search(page)
    return html.unescape(found[2]).strip() if found else ""


def _parsed(text: str) -> Any:
    try:
        return load(text)
    except ValueError:
        return text


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no words"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
