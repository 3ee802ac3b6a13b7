"""What a call's metadata says of who it is."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc

from ailb_server.access.signatures import is_signature

AUTHORIZATION_KEY = "authorization"
API_KEY_KEY = "x-api-key"
_BEARER = "bearer "
_FORWARDED_KEY = "x-forwarded-for"
_MAX_PEER = 64

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


def bearer(value: str) -> str | None:
    """The token of `authorization: Bearer …`, or a signature as it is; None for another scheme or
    an empty one."""
    if value[: len(_BEARER)].lower() != _BEARER:
        return value if is_signature(value) else None
    return value[len(_BEARER) :].strip() or None


def peer(context: Context, *, rest: bool) -> str:
    """The caller's address, without its port; for REST the one that Envoy saw."""
    seen = _host(context.peer() or "")
    if not rest:
        return seen
    forwarded = ""
    for key, value in context.invocation_metadata() or ():
        if key == _FORWARDED_KEY:
            # Envoy adds its own sight at the end; what is before it came from the caller.
            forwarded = str(value).rpartition(",")[2].strip()[:_MAX_PEER]
    return forwarded or seen


def _host(address: str) -> str:
    """gRPC writes `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:`."""
    kind, _, rest = address.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return address[:_MAX_PEER]
    host = rest.rpartition(":")[0]
    return host.replace("%5B", "").replace("%5D", "").strip("[]")[:_MAX_PEER]
