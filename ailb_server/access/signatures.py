"""Requests that are signed instead of carrying a secret: docs/security.md has the format.

The signature covers who, when, once, what and with which body; replay is refused by every instance,
because what was used once is in the store they share.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.access.secret import Digester
from ailb_server.domain.api_key import SigningKey
from ailb_server.domain.errors import InvalidApiKeyError, OverloadedError
from ailb_server.domain.principal import Principal

SCHEME = "AILB-HMAC-SHA256"
MAX_SKEW_S = 300
# How far the clocks of instances and of the store may differ from each other besides.
CLOCKS_S = 60
_MAX_CHECKS = 64
# From here on a digest takes long enough for others to wait for it.
_LARGE = 1 << 20
_HEADER = re.compile(
    rf"{SCHEME} +Key=([0-9]{{1,9}}), *Timestamp=([0-9]{{1,11}}), *"
    r"Nonce=([A-Za-z0-9_-]{16,64}), *Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What was called, and the body that the caller sent. `target` is `POST /v1/…`, or for gRPC
    `/package.Service/Method`."""

    target: str
    body: bytes


class SigningStore(Protocol):
    """Where keys are kept, and what was used once. Raises StorageUnavailableError."""

    async def signing_key(self, key_id: int) -> SigningKey | None:
        """A key by its number."""
        ...

    async def use_once(self, key_id: int, nonce: str, until: float) -> bool:
        """False if that was used before. `until`: seconds since 1970, when it may be forgotten."""
        ...


@dataclass(frozen=True, slots=True)
class _Claim:
    key_id: int
    timestamp: str
    nonce: str
    signature: str

    def text(self, target: str, body_digest: str) -> str:
        return text_to_sign(self.key_id, self.timestamp, self.nonce, target, body_digest)


@dataclass(slots=True)
class Signatures:
    """Tells who signed. A store that is away refuses all: nobody can say what was used before."""

    store: SigningStore
    digester: Digester
    max_skew_s: int = MAX_SKEW_S
    wall: Callable[[], float] = time.time
    _checks: int = field(init=False, default=0)

    async def authenticate(self, header: str, signed: Signed) -> Principal:
        """Raises InvalidApiKeyError, StorageUnavailableError or OverloadedError."""
        claim = _claim(header)
        if abs(self.wall() - int(claim.timestamp)) > self.max_skew_s:
            raise InvalidApiKeyError(
                f"The signature's time differs by more than {self.max_skew_s} s from this"
                " server's.",
                problem="timestamp",
            )
        if self._checks >= _MAX_CHECKS:
            raise OverloadedError("Too many signatures are checked.", retry_after_s=1)
        self._checks += 1
        try:
            return await self._checked(claim, signed)
        finally:
            self._checks -= 1

    async def _checked(self, claim: _Claim, signed: Signed) -> Principal:
        found = await self.store.signing_key(claim.key_id)
        if found is None:
            raise _wrong()
        text = claim.text(signed.target, await _digest(signed.body))
        end = self._end(found, text, claim.signature)
        if found.key.revoked_at is not None:
            raise InvalidApiKeyError("This API key was revoked.", problem="revoked")
        if end is not None and self.wall() >= end:
            raise InvalidApiKeyError("This API key has expired.", problem="expired")
        # Only now: who cannot sign must not fill the store.
        until = int(claim.timestamp) + self.max_skew_s + CLOCKS_S
        if not await self.store.use_once(claim.key_id, claim.nonce, until):
            raise InvalidApiKeyError("This signature was used before.", problem="replayed")
        return found.key.principal()

    def _end(self, found: SigningKey, text: str, signature: str) -> float | None:
        """Of the secret that it was signed with. Raises InvalidApiKeyError if that is none."""
        for digest, end in found.digests:
            right = signature_of(self.digester.signing_secret(digest), text)
            if hmac.compare_digest(right, signature):
                return end
        raise _wrong()


def is_signature(credential: str) -> bool:
    """Whether `authorization` claims to be one."""
    return credential.startswith(SCHEME)


def text_to_sign(key_id: int, timestamp: str, nonce: str, target: str, body_digest: str) -> str:
    """Six lines. `body_digest`: SHA-256 of the body in lower-case hex."""
    return "\n".join((SCHEME, str(key_id), timestamp, nonce, target, body_digest))


def signature_of(signing_secret: str, text: str) -> str:
    """HMAC-SHA256 in lower-case hex. The secret's text is the key, as it was shown."""
    return hmac.new(signing_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _wrong() -> InvalidApiKeyError:
    return InvalidApiKeyError("The signature is not right.", problem="signature")


def _claim(header: str) -> _Claim:
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        raise InvalidApiKeyError(
            f"`authorization` must be `{SCHEME} Key=…, Timestamp=…, Nonce=…, Signature=…`.",
            problem="malformed",
        )
    # As it is written: the server does not guess at what was signed.
    return _Claim(int(found[1]), found[2], found[3], found[4])


async def _digest(body: bytes) -> str:
    if len(body) < _LARGE:
        return hashlib.sha256(body).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
