"""Batches: consecutive events of one run, with the encodings that all their readers share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from shared.events.log import StoredEvent

Encode = Callable[[StoredEvent], bytes]
"""Encodes one event. Readers share an encoding if they bring the same function."""


class Batch(list[StoredEvent]):
    """Events in order, without a hole; an empty batch says "still here".

    A dialect encodes a batch once, whatever the number of readers, and keeps the result in `forms` under
    a key of its own. A form is about as large as the events, and lives as long as the batch.
    """

    __slots__ = ("_skipped", "_whole", "arrived_at", "forms")

    def __init__(
        self, events: Iterable[StoredEvent] = (), *, whole: "Batch | None" = None, skipped: int = 0
    ) -> None:
        super().__init__(events)
        self._whole = whole
        self._skipped = skipped
        self.arrived_at: float | None = None  # monotonic seconds, when it was published; None if it was read
        self.forms: dict[object, Any] = {}

    @property
    def is_whole(self) -> bool:
        """Whether this is a batch as it was read or published, and not its tail."""
        return self._whole is None

    def since(self, seq: int) -> "Batch":
        """Return the events from the number `seq` on."""
        skipped = seq - self[0].seq
        return self if skipped <= 0 else Batch(self[skipped:], whole=self, skipped=skipped)

    def encoded(self, encode: Encode) -> bytes:
        """Return the encodings of all events, one after another; the first caller has them made."""
        whole = self._whole or self
        form = whole.forms.get(encode)
        if form is None:
            pieces = [encode(event) for event in whole]
            form = whole.forms[encode] = (b"".join(pieces), tuple(accumulate(map(len, pieces))))
        data, ends = form
        found: bytes = data[ends[self._skipped - 1] :] if self._skipped else data
        return found


@dataclass(frozen=True, slots=True)
class Slice:
    """What was read of a run's log from some number on; its readers share it."""

    events: Batch
    total: int  # events in the log when it was read
    is_closed: bool  # whether the run has ended: then `total` is final

    @property
    def has_more(self) -> bool:
        """Whether the log went on behind the slice when it was read."""
        return bool(self.events) and self.events[-1].seq + 1 < self.total


AWAY: Final = Slice(Batch(), total=0, is_closed=False)
"""Nothing, as PostgreSQL cannot be reached or has too much to do."""
