"""From a secret to who calls: from the cache, else from the store."""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.access.key_cache import CacheRules, Entry, KeyCache
from ailb_server.access.secret import Digester, is_secret
from ailb_server.domain.api_key import Match
from ailb_server.domain.errors import (
    InvalidApiKeyError,
    OverloadedError,
    StorageUnavailableError,
)
from ailb_server.domain.principal import Principal, Role

# Longer ones are nobody's key, and not worth a digest.
MAX_SECRET = 512
OPERATOR = Principal(name="ADMIN_API_KEY", role=Role.ADMIN)


class KeyStore(Protocol):
    """Where keys are kept."""

    async def find(self, digest: bytes) -> Match | None:
        """The key of a digest. Raises StorageUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class LookupRules:
    """Bounds of asking the store, in seconds: `wait_s` for a key that is not known, `refresh_s`
    for one whose answer is only old; after a failure the store is left alone for `pause_s`."""

    wait_s: float = 5.0
    refresh_s: float = 1.0
    pause_s: float = 1.0
    max_lookups: int = 64


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds: monotonic, and since 1970."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(slots=True)
class Authenticator:
    """Tells whose secret it is. `admin_secret` is the setting ADMIN_API_KEY.

    A store that is away is no reason to refuse: what is cached goes on working for `outage_ttl_s`,
    and what is not known is StorageUnavailableError, because nobody can say that it is wrong.
    """

    store: KeyStore
    digester: Digester
    admin_secret: str | None = field(default=None, repr=False)
    cache_rules: CacheRules = field(default_factory=CacheRules)
    rules: LookupRules = field(default_factory=LookupRules)
    clocks: Clocks = field(default_factory=Clocks)
    _cache: KeyCache = field(init=False)
    _admin: bytes | None = field(init=False, repr=False)
    _flights: dict[bytes, "asyncio.Task[Entry | None]"] = field(init=False, default_factory=dict)
    _tasks: "set[asyncio.Task[Entry | None]]" = field(init=False, default_factory=set)
    _generation: int = field(init=False, default=0)
    _paused_until: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._cache = KeyCache(self.cache_rules)
        self._admin = self.digester.digest(self.admin_secret) if self.admin_secret else None

    def known(self, secret: str) -> Principal | None:
        """Who calls, if that is known without waiting and the key is good."""
        if len(secret) > MAX_SECRET:
            return None
        entry = self._cache.fresh(self.digester.digest(secret), self.clocks.monotonic())
        if entry is None or entry.barred:
            return None
        if entry.until is not None and self.clocks.wall() >= entry.until:
            return None
        return entry.principal

    def is_ours(self, secret: str) -> bool:
        """Whether it claims to be one of ours: what a server that asks for no key still heeds."""
        return is_secret(secret) or self._is_admin(secret)

    async def authenticate(self, secret: str) -> Principal:
        """Who calls. Raises InvalidApiKeyError, StorageUnavailableError or OverloadedError."""
        if self._is_admin(secret):
            return OPERATOR
        if not is_secret(secret):
            raise InvalidApiKeyError("This is no API key of AILB.", problem="malformed")
        digest, now = self.digester.digest(secret), self.clocks.monotonic()
        entry = self._cache.fresh(digest, now)
        if entry is None and not self._cache.is_unknown(digest, now):
            entry = await self._asked(digest, now)
        if entry is None:
            raise InvalidApiKeyError("This API key is not known here.", problem="unknown")
        return entry.admitted(self.clocks.wall())

    def changed(self, key_id: int) -> None:
        """A key was changed, somewhere: it is read anew before it is used again."""
        self._outdate()
        self._cache.forget(key_id)

    def missed(self) -> None:
        """Changes may have gone untold: every key is read anew, once the store answers."""
        self._outdate()
        self._cache.age()

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _is_admin(self, secret: str) -> bool:
        # Digests, so that the time tells neither the length nor how far it was right.
        return (
            self._admin is not None
            and len(secret) <= MAX_SECRET
            and hmac.compare_digest(self.digester.digest(secret), self._admin)
        )

    def _outdate(self) -> None:
        # An answer that is under way may have been read before the change: nobody new waits for it,
        # and it is not kept.
        self._generation += 1
        self._flights.clear()

    async def _asked(self, digest: bytes, now: float) -> Entry | None:
        old = self._cache.stale(digest, now)
        if old is None:
            return await self._landed(digest, self.rules.wait_s)
        if now < self._paused_until:
            return old
        try:
            return await self._landed(digest, self.rules.refresh_s)
        except StorageUnavailableError:
            self._paused_until = self.clocks.monotonic() + self.rules.pause_s
            # It may have been told of as changed while we waited: then it is no longer there.
            kept = self._cache.stale(digest, self.clocks.monotonic())
            if kept is None:
                raise
            return kept

    async def _landed(self, digest: bytes, wait_s: float) -> Entry | None:
        """One question at a time for each secret, whoever waits for the answer."""
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._flights[digest] = self._launched(digest)
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(flight)
        except TimeoutError:
            raise StorageUnavailableError(
                "The store does not answer.", retry_after_s=self.rules.pause_s
            ) from None

    def _launched(self, digest: bytes) -> "asyncio.Task[Entry | None]":
        if len(self._tasks) >= self.rules.max_lookups:
            raise OverloadedError("Too many unknown API keys are looked up.", retry_after_s=1)
        task = asyncio.create_task(self._read(digest, self._generation))
        self._tasks.add(task)

        def over(done: "asyncio.Task[Entry | None]") -> None:
            self._tasks.discard(done)
            if self._flights.get(digest) is done:
                del self._flights[digest]
            if not done.cancelled():
                # Told to those who wait; if nobody does any more, it is not worth a traceback.
                done.exception()

        task.add_done_callback(over)
        return task

    async def _read(self, digest: bytes, generation: int) -> Entry | None:
        match = await self.store.find(digest)
        now = self.clocks.monotonic()
        # Read before a change that was told meanwhile: good for who asked by then, but not kept.
        current = generation == self._generation
        if match is None:
            if current:
                self._cache.put_unknown(digest, now)
            return None
        entry = self._cache.entry(match, now)
        return self._cache.put(digest, entry) if current else entry
