"""What this instance knows of keys, by the digests of their secrets."""

from collections import OrderedDict
from dataclasses import dataclass

from ailb_server.domain.api_key import ApiKey, Match
from ailb_server.domain.errors import InvalidApiKeyError
from ailb_server.domain.principal import Principal

_BARRED = {
    "revoked": "This API key was revoked.",
    "unsigned": "Requests with this API key must be signed.",
}


@dataclass(frozen=True, slots=True)
class CacheRules:
    """Bounds, and times in seconds.

    `ttl_s`: how long an answer of the store is used without asking again. `outage_ttl_s`: how long
    while the store does not answer. `unknown_ttl_s`: how long a secret stays unknown.
    """

    ttl_s: float = 10.0
    outage_ttl_s: float = 3600.0
    unknown_ttl_s: float = 5.0
    max_keys: int = 10_000
    max_unknown: int = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as the store told it; times of `fresh_until` and `stale_until` are monotonic.

    `barred`: why its secret opens nothing: it was `revoked`, or only signatures do (`unsigned`).
    """

    principal: Principal
    key_id: int
    version: int
    barred: str
    until: float | None
    fresh_until: float
    stale_until: float
    epoch: int

    def admitted(self, wall: float) -> Principal:
        """Who calls. Raises InvalidApiKeyError if it opens nothing (any more)."""
        if self.barred:
            raise InvalidApiKeyError(_BARRED[self.barred], problem=self.barred)
        if self.until is not None and wall >= self.until:
            raise InvalidApiKeyError("This API key has expired.", problem="expired")
        return self.principal


def _bar(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "unsigned" if key.terms.require_signature else ""


class KeyCache:
    """Bounded; the least recently used goes first. Times are given, monotonic seconds."""

    def __init__(self, rules: CacheRules) -> None:
        self._rules = rules
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._digests: dict[int, set[bytes]] = {}
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._unknown)

    def fresh(self, digest: bytes, now: float) -> Entry | None:
        """What may be used without asking the store."""
        entry = self._entries.get(digest)
        if entry is None or now >= entry.fresh_until or entry.epoch != self._epoch:
            return None
        self._entries.move_to_end(digest)
        return entry

    def stale(self, digest: bytes, now: float) -> Entry | None:
        """What may be used while the store does not answer."""
        entry = self._entries.get(digest)
        return entry if entry is not None and now < entry.stale_until else None

    def is_unknown(self, digest: bytes, now: float) -> bool:
        """Whether the store said a moment ago that it knows no such secret."""
        return now < self._unknown.get(digest, now)

    def entry(self, match: Match, now: float) -> Entry:
        """The store's answer of now, not kept."""
        return Entry(
            principal=match.key.principal(),
            key_id=match.key.id,
            version=match.key.version,
            barred=_bar(match.key),
            until=match.until,
            fresh_until=now + self._rules.ttl_s,
            stale_until=now + max(self._rules.ttl_s, self._rules.outage_ttl_s),
            epoch=self._epoch,
        )

    def put(self, digest: bytes, entry: Entry) -> Entry:
        """Keeps an answer, and returns what is kept: of two versions, the later one."""
        known = self._entries.get(digest)
        if known is not None and known.version > entry.version and known.key_id == entry.key_id:
            return known
        self._unknown.pop(digest, None)
        self._remove(digest)
        self._entries[digest] = entry
        self._digests.setdefault(entry.key_id, set()).add(digest)
        if len(self._entries) > self._rules.max_keys:
            self._remove(next(iter(self._entries)))
        return entry

    def put_unknown(self, digest: bytes, now: float) -> None:
        """Keeps that there is no such key."""
        self._remove(digest)
        self._unknown[digest] = now + self._rules.unknown_ttl_s
        self._unknown.move_to_end(digest)
        if len(self._unknown) > self._rules.max_unknown:
            self._unknown.popitem(last=False)

    def forget(self, key_id: int) -> None:
        """After a change of that key. It may also be new: nothing is unknown any more."""
        self._unknown.clear()
        for digest in tuple(self._digests.get(key_id, ())):
            self._remove(digest)

    def age(self) -> None:
        """After changes that nobody told: nothing is fresh any more. For an outage it stays."""
        self._unknown.clear()
        self._epoch += 1

    def _remove(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        digests = self._digests[entry.key_id]
        digests.discard(digest)
        if not digests:
            del self._digests[entry.key_id]
