"""What two requests must have in common to share an answer. Pure.

Bodies count byte for byte, as they came: what nobody here knows counts too, and so does the order
of names, which for a tool's schema is the order that a model writes them in.
"""

import hashlib
from collections.abc import Iterable

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.repeats import OnceName
from ailb_server.pipeline.wishes import CallWishes


def cache_digest(request: ChatRequest, wishes: CallWishes, targets: Iterable[str]) -> bytes:
    """Of the tenant, the request as it goes to a provider, and whom its model's name stands for."""
    headers = (f"{name}={request.headers[name]}" for name in sorted(request.headers))
    return _digest(
        b"cache",
        str(wishes.who.tenant_id).encode(),
        (wishes.strategy or "").encode(),
        "\n".join(targets).encode(),
        "\n".join(headers).encode(),
        *_asked(request),
    )


def once_digest(request: ChatRequest) -> bytes:
    """Of the request as its caller wrote it."""
    return _digest(b"once", *_asked(request))


def once_name(wishes: CallWishes, idempotency_key: str) -> OnceName:
    """The header is kept as a digest: it may hold anything, such as an order's number."""
    who = wishes.who
    return OnceName(who.tenant_id, who.key_id or 0, _digest(b"key", idempotency_key.encode()))


def _asked(request: ChatRequest) -> tuple[bytes, ...]:
    kind = f"{request.operation.value} {request.wire} {request.stream}"
    return kind.encode(), request.model.encode(), request.body


def _digest(*parts: bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        # Lengths, or the end of one part could be the beginning of the next.
        found.update(len(part).to_bytes(8))
        found.update(part)
    return found.digest()
