"""Redaction: secret values are replaced by `[NAME]`, in messages, log lines, events and program output.

`redact` and `Redactor` know a secret in every form in which a text may quote it. `StreamRedactor` knows the
values of a program's variables as they stand, and is fast enough for all that a program writes.
"""

import base64
import html
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from shared.settings import secrets_in_files
from worker import credentials

MAX_LENGTH: Final = 2_000
"""Characters of a message for people; a provider's answer may be a whole page."""

MIN_SECRET: Final = 8
"""Characters of the shortest secret; a shorter value would be found where it does not stand."""

MIN_PART: Final = 12
"""Characters of a key's beginning or end that give the key away, should another program have cut it."""

_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|_URL|AUTH)", re.IGNORECASE)


def redact(text: str, limit: int | None = MAX_LENGTH) -> str:
    """Replace every secret of the environment and of its files, then cut the text to `limit` characters.

    In this order: a cut first could leave half a secret at the end.
    """
    secrets = secrets_among({**os.environ, **secrets_in_files()})
    text = _redactor(tuple(secrets.items())).redact(text)
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def secrets_among(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that have a secret's name, and a value long enough for a secret."""
    return {
        name: value
        for name, value in variables.items()
        if len(value) >= MIN_SECRET and _SECRET_NAMES.search(name)
    }


def provider_keys() -> "Redactor":
    """Return the redactor of the model providers' keys in the environment."""
    keys = {name: value for name in credentials.VARIABLES if (value := os.environ.get(name))}
    return _redactor(tuple(secrets_among(keys).items()))


@lru_cache(maxsize=4)
def _redactor(variables: tuple[tuple[str, str], ...]) -> "Redactor":
    return Redactor(dict(variables))


class Redactor:
    """Replaces the values of some variables in text, in every form in which it may quote them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        secrets: list[_Secret] = []
        for name, value in variables.items():
            is_address = "://" in value
            if is_address and not {"@", "?"} & set(value):
                continue  # an address without credentials: messages name it
            secrets.append(_Secret(name, value, is_key=not is_address))
            try:
                password = unquote(urlsplit(value).password or "") if is_address else ""
            except ValueError:  # not an address after all
                password = ""
            if password:
                secrets.append(_Secret(name, password, is_key=False))
        self._secrets = tuple(secrets)
        forms = [form for secret in self._secrets for form in secret.forms]
        self._forms = _grouped(forms, lambda form: form[0])
        self._longest = max(map(len, forms), default=0)

    @property
    def is_empty(self) -> bool:
        """Whether there is no secret to replace."""
        return not self._secrets

    def redact(self, text: str) -> str:
        """Return the text with each secret replaced by the name of its variable."""
        for secret in self._secrets:
            text = secret.replaced(text)
        return text

    def open_length(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of an unfinished secret."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            forms = self._forms.get(text[-length], ())
            if forms and any(len(form) > length and form.startswith(text[-length:]) for form in forms):
                return length
        return 0


class _Secret:
    """One secret value, in all its forms, with the label that replaces it."""

    def __init__(self, name: str, value: str, *, is_key: bool) -> None:
        """Prepare the forms.

        Args:
            name: of the variable.
            value: the secret; every form of it is replaced.
            is_key: whether a long part is as bad as the whole. An address begins like many others.
        """
        pieces = {value, value.strip(), *re.split(r"[\x00-\x20\x7f]+", value)}
        forms = {form for piece in pieces if len(piece) >= MIN_SECRET for form in _forms(piece)}
        # The longest first: a shorter one may be part of it.
        self.forms = tuple(sorted((one for one in forms if len(one) >= MIN_SECRET), key=len, reverse=True))
        self._label = f"[{name}]"
        parts = [form for form in self.forms if is_key and len(form) > MIN_PART]
        self._beginnings = _grouped(parts, lambda form: form[:MIN_PART])
        self._ends = _grouped(parts, lambda form: form[-MIN_PART:])

    def replaced(self, text: str) -> str:
        """Return a text without this secret, and without long beginnings and ends of it."""
        for form in self.forms:
            if form in text:
                text = text.replace(form, self._label)
        for beginning, forms in self._beginnings.items():  # which all begin with it
            done = 0
            while (start := text.find(beginning, done)) >= 0:
                end = start + max(_shared(form, text[start : start + len(form)]) for form in forms)
                text = f"{text[:start]}{self._label}{text[end:]}"
                done = start + len(self._label)
        for ending, forms in self._ends.items():  # which all end with it
            done = 0
            while (found := text.find(ending, done)) >= 0:
                end = found + MIN_PART
                shown = [_shared(form[::-1], text[max(done, end - len(form)) : end][::-1]) for form in forms]
                start = end - max(shown)
                text = f"{text[:start]}{self._label}{text[end:]}"
                done = start + len(self._label)
        return text


def _grouped(forms: Sequence[str], key: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    groups: dict[str, list[str]] = {}
    for form in forms:
        groups.setdefault(key(form), []).append(form)
    return groups


def _shared(one: str, other: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = zip(one, other, strict=False)
    return next(
        (count for count, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other))
    )


def _forms(piece: str) -> Iterator[str]:
    raw = piece.encode("utf-8", "surrogateescape")
    once = (piece, repr(piece)[1:-1], repr(raw)[2:-1], json.dumps(piece)[1:-1], html.escape(piece))
    for form in once:
        yield form
        yield form.replace("\\", "\\\\")  # quoted twice
    for safe in ("", "/", "/:@"):
        yield (quoted := quote(piece, safe=safe, errors="surrogateescape"))
        yield re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)
    yield quote_plus(piece, errors="surrogateescape")
    yield raw.hex()
    for shift, unsure in enumerate((0, 2, 3)):  # at each offset in an encoded text, such as user:key
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        core = encoded[unsure : (shift + len(raw)) * 8 // 6]
        yield core
        yield core.replace("+", "-").replace("/", "_")


class StreamRedactor:
    """Replaces the values of a program's variables in the bytes that it writes.

    Output comes in lines, so a value of several lines is matched line by line.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        names = {
            part.encode(errors="surrogatepass"): f"[{name}]".encode()
            for name, value in variables.items()
            for part in _lines_of(value)
        }
        self._by_start: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
        for secret in sorted(names, key=len, reverse=True):
            self._by_start[secret[:MIN_SECRET]].append((secret, names[secret]))
        self.longest = max(map(len, names), default=0)
        """Bytes of the longest value: a position is safe once that many bytes follow it."""

    def redact(self, text: bytes) -> bytes:
        """Return the text with each value replaced by the name of its variable."""
        pieces: list[bytes] = []
        done = 0
        for start, end, name in self._matches(text, len(text)):
            pieces += text[done:start], name
            done = end
        return b"".join([*pieces, text[done:]])

    def cut(self, text: bytes, at: int) -> int:
        """Return the position nearest to `at` at which a cut splits no value."""
        for start, end, _ in self._matches(text, at):
            if start < at < end:
                return start or end
        return at

    def open_from(self, text: bytes) -> int:
        """Return where an unfinished value may begin at the end of a text; the text's length if none does."""
        for start in range(max(0, len(text) - self.longest + 1), len(text)):
            if any(secret.startswith(text[start:]) for secret in self._beginning_with(text, start)):
                return start
        return len(text)

    def _beginning_with(self, text: bytes, start: int) -> Iterable[bytes]:
        """Return the values, or their first bytes, that the text at `start` may begin."""
        beginning = text[start : start + MIN_SECRET]
        if len(beginning) == MIN_SECRET:
            return (secret for secret, _ in self._by_start.get(beginning, ()))
        return (own for own in self._by_start if own.startswith(beginning))

    def _matches(self, text: bytes, before: int) -> Generator[tuple[int, int, bytes]]:
        """Yield start, end and name of each match that begins before `before`; overlapping ones are one."""
        found: tuple[int, int, bytes] | None = None
        starts = self._by_start
        for start in range(min(before, len(text) - MIN_SECRET + 1)):
            if text[start : start + MIN_SECRET] not in starts:  # one look-up, for any number of values
                continue
            for secret, name in starts[text[start : start + MIN_SECRET]]:
                if not text.startswith(secret, start):
                    continue
                end = start + len(secret)
                if found and start < found[1]:
                    found = (found[0], max(found[1], end), found[2])
                else:
                    if found:
                        yield found
                    found = (start, end, name)
                break
        if found:
            yield found


def _lines_of(value: str) -> Generator[str]:
    """Yield the parts of a value that one line of output can hold, if they are long enough."""
    for part in {*value.split("\n"), *re.split("[\r\n]", value), *value.splitlines()}:
        if len(part.strip()) >= MIN_SECRET:
            yield part.strip()
