"""The response cache of one instance, in its memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

# About what an entry takes beside its recording.
ENTRY_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Entry:
    recording: bytes
    stored_at: float
    until: float

    @property
    def size(self) -> int:
        return len(self.recording) + ENTRY_BYTES


class InMemoryAnswerCache:
    """An `AnswerCache`. What was not asked for longest goes first; what is over goes when it is
    asked for, or in its turn. `clock` tells seconds, monotonic."""

    def __init__(
        self, max_entries: int, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._bytes = 0

    @property
    def entries(self) -> int:
        """How many there are."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes that they take."""
        return self._bytes

    async def get(self, digest: bytes, max_age_s: float) -> bytes | None:
        """See `AnswerCache`."""
        entry, now = self._entries.get(digest), self._clock()
        if entry is None:
            return None
        if now >= entry.until:
            self._drop(digest)
            return None
        if now - entry.stored_at >= max_age_s:
            return None
        self._entries.move_to_end(digest)
        return entry.recording

    async def put(self, digest: bytes, recording: bytes, ttl_s: float) -> None:
        """See `AnswerCache`."""
        if digest in self._entries:
            self._drop(digest)
        now = self._clock()
        entry = _Entry(recording, now, now + ttl_s)
        if entry.size > self._max_bytes:
            return
        while self._entries and (
            len(self._entries) >= self._max_entries or self._bytes + entry.size > self._max_bytes
        ):
            self._drop(next(iter(self._entries)))
        self._entries[digest] = entry
        self._bytes += entry.size

    def _drop(self, digest: bytes) -> None:
        self._bytes -= self._entries.pop(digest).size
