"""Answers that are given again: by the response cache, and to an Idempotency-Key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.context import Source

# Thirty days.
MAX_CACHE_TTL_S = 2_592_000
MAX_IDEMPOTENCY_KEY = 255

# What the response cache did for a request.
CacheResult: TypeAlias = Literal["hit", "miss", "bypass"]
# What became of a request with an Idempotency-Key; `unkept`: its answer is too large to be kept,
# `lost`: the store was away when it was there.
OnceResult: TypeAlias = Literal["first", "replayed", "conflict", "reused", "unkept", "lost"]


@dataclass(frozen=True, slots=True)
class CacheWish:
    """What a request says of the response cache. `ttl_s`: no older answer, and its own is kept as
    long; None: as the key or the setting says."""

    ttl_s: int | None = None
    reads: bool = True
    stores: bool = True


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole answer: its chunks in order, who gave it, and what is told beside it."""

    provider: str
    model: str
    chunks: Sequence[ChatChunk]
    ignored: frozenset[str] = frozenset()
    sources: Sequence[Source] = ()
    degraded: tuple[str, ...] = ()


class AnswerCache(Protocol):
    """Recordings as bytes, by a digest of all that they answer. Bounded. Must not raise: what
    cannot be had is a miss."""

    async def get(self, digest: bytes, max_age_s: float) -> bytes | None:
        """The recording, unless it is older or its time is over."""
        ...

    async def put(self, digest: bytes, recording: bytes, ttl_s: float) -> None:
        """Keeps it for at most so long."""
        ...


@dataclass(frozen=True, slots=True)
class OnceName:
    """Whose Idempotency-Key. `key_id` is 0 without an API key; `digest` is of the header."""

    tenant_id: int
    key_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer, until its lease ends; `holder` tells it from a later one."""

    name: OnceName
    holder: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Another request has the name. `same`: its body is the same; `done`: it is answered, by
    `recording` unless that was too large."""

    same: bool
    done: bool = False
    recording: bytes | None = None


class OnceStore(Protocol):
    """The claims of all instances. Each method raises StorageUnavailableError."""

    async def claim(self, name: OnceName, body: bytes) -> Claim | Taken:
        """The claim, if nobody has it; `body` is the body's digest."""
        ...

    async def renew(self, claim: Claim) -> bool:
        """Begins the lease anew; False if another holds it by now."""
        ...

    async def finish(self, claim: Claim, recording: bytes | None) -> bool:
        """Keeps the answer; False if another holds the claim by now."""
        ...

    async def release(self, claim: Claim) -> None:
        """Lets the next request run."""
        ...

    async def sweep(self) -> bool:
        """Removes some of those whose time is over; whether there may be more."""
        ...


class RepeatObserver(Protocol):
    """Who is told; must not block and must not raise."""

    def cache(self, result: CacheResult) -> None:
        """A request that asked for the cache."""
        ...

    def once(self, result: OnceResult) -> None:
        """A request with an Idempotency-Key."""
        ...
