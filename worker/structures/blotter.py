"""Blots the values of a program's variables out of what it writes."""

import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from typing import Final

SHORTEST: Final = 8  # characters; what is shorter would be found where it does not stand


class Blotter:
    """Knows the values, and puts a variable's name where its value stood.

    Output is lines, so a value of several lines is looked for line by line.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        names = {
            part.encode(errors="surrogatepass"): f"[{name}]".encode()
            for name, value in variables.items()
            for part in _parts(value)
        }
        self._by_start: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
        for secret in sorted(names, key=len, reverse=True):
            self._by_start[secret[:SHORTEST]].append((secret, names[secret]))
        self.longest = max(map(len, names), default=0)
        """Bytes of the longest value: as many have to follow a place before it is known to be safe."""

    def blot(self, text: bytes) -> bytes:
        """Return a text without the values."""
        pieces: list[bytes] = []
        done = 0
        for start, end, name in self._finds(text, len(text)):
            pieces += text[done:start], name
            done = end
        return b"".join([*pieces, text[done:]])

    def cut(self, text: bytes, at: int) -> int:
        """Where to cut a text in two so that no value is cut: at a place, or else close to it."""
        for start, end, _ in self._finds(text, at):
            if start < at < end:
                return start or end
        return at

    def open_from(self, text: bytes) -> int:
        """Where what may be the beginning of a value starts, at the end of a text; its length if nowhere."""
        for start in range(max(0, len(text) - self.longest + 1), len(text)):
            if any(secret.startswith(text[start:]) for secret in self._beginning_with(text, start)):
                return start
        return len(text)

    def _beginning_with(self, text: bytes, start: int) -> Iterable[bytes]:
        """The values that begin as a text does from a place on, as far as that is quick to tell."""
        beginning = text[start : start + SHORTEST]
        if len(beginning) == SHORTEST:
            return (secret for secret, _ in self._by_start.get(beginning, ()))
        return (own for own in self._by_start if own.startswith(beginning))

    def _finds(self, text: bytes, before: int) -> Generator[tuple[int, int, bytes]]:
        """Start, end and name of each stretch that begins before a place; values that overlap are one."""
        found: tuple[int, int, bytes] | None = None
        starts = self._by_start
        for start in range(min(before, len(text) - SHORTEST + 1)):
            if text[start : start + SHORTEST] not in starts:  # one look, however many values there are
                continue
            for secret, name in starts[text[start : start + SHORTEST]]:
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


def _parts(value: str) -> Generator[str]:
    """What of a value may stand in a line of output, if it is long enough."""
    for part in {*value.split("\n"), *re.split("[\r\n]", value), *value.splitlines()}:
        if len(part.strip()) >= SHORTEST:
            yield part.strip()
