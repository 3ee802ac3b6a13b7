"""Keys and a store of them, for tests."""

import asyncio
from dataclasses import dataclass, field, replace

from ailb_server.access.authenticator import Authenticator, Clocks, LookupRules
from ailb_server.access.key_cache import CacheRules
from ailb_server.access.secret import Digester, new_secret
from ailb_server.domain.api_key import ApiKey, KeyTerms, Match
from ailb_server.domain.principal import Role

PEPPER = bytes(range(32))
ADMIN = "an-administrators-secret"


def api_key(key_id: int = 1, name: str = "ci", role: Role = Role.USER) -> ApiKey:
    """An active key of the tenant `acme`."""
    return ApiKey(key_id, 7, "acme", role, KeyTerms(name), "ailb_abcdef", 1, 100.0, 100.0)


@dataclass
class FakeKeys:
    """A store that counts what it is asked; `failure` is raised, `gate` is waited for."""

    matches: dict[bytes, Match] = field(default_factory=dict)
    asked: int = 0
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, digest: bytes) -> Match | None:
        self.asked += 1
        found = self.matches.get(digest)
        self.reading.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return found


@dataclass
class World:
    """An authenticator over a fake store, in a time of its own."""

    keys: FakeKeys = field(default_factory=FakeKeys)
    digester: Digester = field(default_factory=lambda: Digester(PEPPER))
    now: float = 1000.0
    wait_s: float = 5.0
    max_lookups: int = 64

    def __post_init__(self) -> None:
        self.authenticator = Authenticator(
            self.keys,
            self.digester,
            ADMIN,
            CacheRules(ttl_s=10, outage_ttl_s=100, unknown_ttl_s=5, max_keys=3, max_unknown=3),
            LookupRules(wait_s=self.wait_s, refresh_s=self.wait_s, max_lookups=self.max_lookups),
            Clocks(lambda: self.now, lambda: self.now),
        )

    def add(self, key: ApiKey, until: float | None = None) -> str:
        """Puts a key into the store; its secret."""
        secret = new_secret()
        self.keys.matches[self.digester.digest(secret)] = Match(key, until)
        return secret

    def change(self, secret: str, **changes: object) -> None:
        """Changes a key in the store, untold."""
        digest = self.digester.digest(secret)
        match = self.keys.matches[digest]
        key = replace(match.key, version=match.key.version + 1, **changes)  # type: ignore[arg-type]
        self.keys.matches[digest] = replace(match, key=key)
