"""Vectors of texts that were embedded lately."""

import hashlib
from collections import OrderedDict

from ailb_server.embedding.frames import Embedded

# What an entry takes beside its numbers, about.
_OVERHEAD_BYTES = 400


class VectorCache:
    """Least recently used, bounded by the bytes that it takes. Texts are not kept, only hashes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, Embedded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def key(payload: bytes) -> bytes:
        """What a text, in UTF-8, is found by."""
        return hashlib.sha256(payload).digest()

    def get(self, key: bytes) -> Embedded | None:
        """The text's vector, which is now the most recently used one."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, embedded: Embedded) -> None:
        """Makes room for it, if need be."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= _size(old)
        self._entries[key] = embedded
        self._bytes += _size(embedded)
        while self._bytes > self._max_bytes:
            _, gone = self._entries.popitem(last=False)
            self._bytes -= _size(gone)

    def clear(self) -> None:
        """Forgets all of it."""
        self._entries.clear()
        self._bytes = 0


def _size(embedded: Embedded) -> int:
    return embedded.vector.nbytes + _OVERHEAD_BYTES
