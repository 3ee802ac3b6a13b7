"""What a caller says beside the body of a chat, on both faces, and who it is."""

import re
from typing import Any, TypeAlias

import grpc

from ailb_server.api.call import current_call
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.repeats import MAX_CACHE_TTL_S, MAX_IDEMPOTENCY_KEY, CacheWish
from ailb_server.domain.route import Face
from ailb_server.domain.session_id import check_session_id
from ailb_server.pipeline.wishes import CallWishes

STRATEGY_KEY = "x-ailb-routing-strategy"
SESSION_KEY = "x-session-id"
CACHE_KEY = "x-ailb-cache"
IDEMPOTENCY_KEY = "idempotency-key"
_KEYS = frozenset({STRATEGY_KEY, SESSION_KEY, CACHE_KEY, IDEMPOTENCY_KEY})
_CACHE_WISHES = {
    "on": CacheWish(),
    "off": CacheWish(reads=False, stores=False),
    "no-store": CacheWish(stores=False),
}
_SECONDS = re.compile(r"[1-9][0-9]{0,6}")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def call_wishes(context: Context) -> CallWishes:
    """Who calls; `x-ailb-routing-strategy`, `x-session-id`, `x-ailb-cache` and `idempotency-key`
    (headers to Envoy, metadata to gRPC); gRPC's own deadline. Raises InvalidRequestError."""
    metadata = context.invocation_metadata() or ()
    told = {key: value for key, value in metadata if key in _KEYS and isinstance(value, str)}
    call = current_call.get()
    face = Face.REST if call.rest else Face.GRPC
    if not told:
        left_s = context.time_remaining()
        return CallWishes(
            None, left_s, call.principal, None, call.request_id, face=face, metadata=metadata
        )
    session_id = told.get(SESSION_KEY)
    return CallWishes(
        told.get(STRATEGY_KEY),
        context.time_remaining(),
        call.principal,
        check_session_id(session_id) if session_id else None,
        call.request_id,
        cache_wish(told[CACHE_KEY]) if CACHE_KEY in told else None,
        idempotency_key(told[IDEMPOTENCY_KEY]) if IDEMPOTENCY_KEY in told else None,
        face,
        metadata,
    )


def cache_wish(text: str) -> CacheWish | None:
    """`on`, `off`, `no-store` or a number of seconds; None for an empty one. Raises
    InvalidRequestError."""
    text = text.strip().lower()
    if not text:
        return None
    if text in _CACHE_WISHES:
        return _CACHE_WISHES[text]
    if _SECONDS.fullmatch(text) and int(text) <= MAX_CACHE_TTL_S:
        return CacheWish(int(text))
    raise InvalidRequestError(
        f"`{CACHE_KEY}` must be `on`, `off`, `no-store` or seconds from 1 to {MAX_CACHE_TTL_S}.",
        param=CACHE_KEY,
    )


def idempotency_key(text: str) -> str:
    """As it is sent. Raises InvalidRequestError, for an empty one too: who sends it counts on not
    being billed twice."""
    if not 0 < len(text) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequestError(
            f"`{IDEMPOTENCY_KEY}` must have 1 to {MAX_IDEMPOTENCY_KEY} characters.",
            param=IDEMPOTENCY_KEY,
        )
    return text
