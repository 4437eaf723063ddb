"""The parameters that each model refuses, remembered for the life of the process."""

import re
import threading
from collections.abc import Iterable
from typing import Any, Final

_MOST_MODELS: Final = 1_000

_QUOTE: Final = r"['\"`\u2018\u2019\u201c\u201d]"

_LINK: Final = "(?: (?:for|with|in|tool use in))?"

_VERBS: Final = "(?:support|allow|accept|permit|recogni[sz]e|known|invalid|extra)"

_FORMS: Final = (
    _QUOTE + r"{name}" + _QUOTE,
    r"\\\"{name}\\\"",  # in JSON within JSON
    r"\b(?:parameters?|arguments?|fields?|keys?|options?)\s*(?::\s*)?{name}\b",
    r"(?:^|[\s\"]){name}\s*:",
    r"\b{name}(?:ing)?\b[^.;,]{{0,20}}\b(?:is|are|was) (?:not\b|un|only\b|deprecated)",
    r"\b{name}(?:ing)?\b[^.;,]{{0,20}}\b(?:not (?:supported|allowed|permitted|available)|unsupported)",
    _VERBS + r"\w{{0,20}}{link}\s+{name}(?:ing)?\b",
)
"""How refusals name a parameter."""

SYSTEM: Final = "system's words"
CALLS_WITHOUT_TOOLS: Final = "calls without tools"
WORDS_AFTER_RESULTS: Final = "words after results"
WORDS_BESIDE_CALLS: Final = "words beside calls"
THOUGHTS: Final = "thoughts"

_TAKEN: Final = r"(?:support|allow|accept|enable|permit)\w*"
_SYSTEM: Final = _QUOTE + r"?(?:system|developer)" + _QUOTE + "?"
_SAID: Final = r"(?:roles?|messages?|instructions?|prompts?)"

_FORMS_OF_OTHERS: Final = {
    SYSTEM: (
        rf"(?:not|n't) {_TAKEN} (?:a |the )?{_SYSTEM} (?:{_SAID}|with\b)",
        rf"{_SYSTEM} {_SAID} (?:is |are )?(?:not |un){_TAKEN}",
        rf"roles?:? {_SYSTEM} (?:is|are) (?:not |un){_TAKEN}",
        rf"(?:unsupported|invalid|unknown|unexpected|\u4e0d\u652f\u6301\u7684) (?:message )?role:? {_SYSTEM}",
        r"roles must alternate",  # those of the other turns do
        r"only user and assistant roles",
    ),
    CALLS_WITHOUT_TOOLS: (
        r"expects the .?tools=?.? param",
        r"without .?tools=?.? param",
        r"tools (?:must be|are|is) (?:required|defined|specified|provided)",
    ),
    WORDS_AFTER_RESULTS: (r"role .?user.? (?:right |directly )?after (?:a )?(?:role )?.?tool",),
    WORDS_BESIDE_CALLS: (r"conversation blocks and tool use blocks cannot",),
    THOUGHTS: (
        rf"(?:not|n't) {_TAKEN} .{{0,20}}(?:reasoningContent|thinking)",
        rf"(?:reasoningContent|thinking).{{0,40}}(?:not |un|in)(?:{_TAKEN}|valid)",
        r"invalid .?signature",
    ),
}
"""How refusals name what is no parameter but a part of the conversation."""

_UNSUPPORTED: Final = re.compile(
    r"support|unrecogni[sz]ed|unknown|unexpected|extra|deprecated"
    r"|not (?:permitted|allowed|available|accepted)",
    re.IGNORECASE,
)

_MISSING: Final = re.compile(r"\b(?:is|are) missing\b|\bmissing (?:the )?(?:required )?\W?\w", re.IGNORECASE)
"""What is asked for is not to be left out."""

Model = tuple[str, str, str]
"""The provider, the address, the name."""

_refused: dict[Model, frozenset[str]] = {}
_lock = threading.Lock()


def refused_by(model: Model) -> frozenset[str]:
    """Return the parameters that a model is known to refuse."""
    with _lock:
        return _refused.get(model, frozenset())


def remember(model: Model, names: Iterable[str]) -> None:
    """Remember parameters that a model refuses."""
    with _lock:
        if len(_refused) >= _MOST_MODELS:
            _refused.clear()
        _refused[model] = _refused.get(model, frozenset()) | frozenset(names)


def forget() -> None:
    """Forget all refused parameters."""
    with _lock:
        _refused.clear()


def named(candidates: Iterable[str], words: str, body: Any) -> set[str]:
    """Return the parameters that a refusal names.

    Args:
        candidates: those that the request holds.
        words: all that the refusal says.
        body: its JSON, in which `param` or a step of `loc` names one.
    """
    given = set(candidates)
    return given & _places(body) or {name for name in given if _names(name, words)}


def is_unsupported(words: str) -> bool:
    """Whether a refusal is about a parameter as such, whatever its value."""
    return _UNSUPPORTED.search(words) is not None


def _places(body: Any) -> set[str]:
    match body:
        case dict():
            found = {part for value in body.values() for part in _places(value)}
            param = body.get("param")
            found |= {param.split(".")[0]} if isinstance(param, str) else set()
            if isinstance(place := body.get("loc"), list):
                found |= {part for part in place if isinstance(part, str)}
            return found
        case list():
            return {part for value in body for part in _places(value)}
        case _:
            return set()


def _names(name: str, words: str) -> bool:
    if forms := _FORMS_OF_OTHERS.get(name):
        return any(re.search(form, words, re.IGNORECASE) for form in forms)
    return not _MISSING.search(words) and any(
        re.search(form.format(name=re.escape(name), link=_LINK), words, re.IGNORECASE) for form in _FORMS
    )
