"""API keys as messages, and back."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp

from ailb.v1 import api_key_pb2
from ailb.v1 import api_key_service_pb2 as pb
from ailb_server.domain.api_key import ApiKey, KeyTerms, NewKey
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import DEFAULT_TENANT, KeyLimits, Role

_MICRO = 1_000_000
# Of a double, up to which every millionth of a dollar is told apart.
_MAX_USD = 1e9
_ROLES: Mapping[Role, api_key_pb2.KeyRole.ValueType] = {
    Role.ADMIN: api_key_pb2.KEY_ROLE_ADMIN,
    Role.USER: api_key_pb2.KEY_ROLE_USER,
    Role.MODULE: api_key_pb2.KEY_ROLE_MODULE,
}
_ROLES_BY_NUMBER: Mapping[int, Role] = {
    api_key_pb2.KEY_ROLE_UNSPECIFIED: Role.USER,
    **{number: role for role, number in _ROLES.items()},
}
LIMIT_NAMES = {
    "requests_per_minute": "requests_per_minute",
    "tokens_per_minute": "tokens_per_minute",
    "max_concurrent": "max_concurrent",
    "monthly_budget_usd": "monthly_budget_micro_dollars",
}


def new_key(request: pb.CreateApiKeyRequest) -> NewKey:
    """Raises InvalidRequestError for a role or a time that does not exist."""
    role = _ROLES_BY_NUMBER.get(request.role)
    if role is None:
        raise InvalidRequestError("`role` must be one of `KeyRole`.", param="role")
    terms = KeyTerms(
        name=request.name,
        allowed_models=tuple(request.allowed_models),
        allowed_collections=tuple(request.allowed_collections),
        limits=changed_limits(KeyLimits(), request.limits),
        expires_at=_seconds(request.expires_at) if request.HasField("expires_at") else None,
        metadata=dict(request.metadata),
    )
    return NewKey(terms, request.tenant or DEFAULT_TENANT, role)


def key_change(request: pb.UpdateApiKeyRequest) -> Callable[[KeyTerms], KeyTerms]:
    """What the request makes of a key's terms. Raises InvalidRequestError."""
    unknown = set(request.clear) - {*_CLEARED, *LIMIT_NAMES}
    if unknown:
        raise InvalidRequestError("`clear` names what cannot be emptied.", param="clear")
    expires_at = _seconds(request.expires_at) if request.HasField("expires_at") else None

    def change(terms: KeyTerms) -> KeyTerms:
        return _cleared(
            replace(
                terms,
                name=request.name if request.HasField("name") else terms.name,
                allowed_models=tuple(request.allowed_models) or terms.allowed_models,
                allowed_collections=tuple(request.allowed_collections) or terms.allowed_collections,
                limits=changed_limits(terms.limits, request.limits),
                expires_at=terms.expires_at if expires_at is None else expires_at,
                metadata=dict(request.metadata) or terms.metadata,
            ),
            set(request.clear),
        )

    return change


_CLEARED = ("allowed_models", "allowed_collections", "expires_at", "metadata")


def _cleared(terms: KeyTerms, names: set[str]) -> KeyTerms:
    limits = terms.limits
    return replace(
        terms,
        allowed_models=() if "allowed_models" in names else terms.allowed_models,
        allowed_collections=() if "allowed_collections" in names else terms.allowed_collections,
        expires_at=None if "expires_at" in names else terms.expires_at,
        metadata={} if "metadata" in names else terms.metadata,
        limits=lifted(limits, names),
    )


def api_key(key: ApiKey) -> api_key_pb2.ApiKey:
    """As it may be shown."""
    message = api_key_pb2.ApiKey(
        id=key.id,
        tenant=key.tenant,
        name=key.terms.name,
        prefix=key.prefix,
        role=_ROLES[key.role],
        state=_state(key),
        allowed_models=key.terms.allowed_models,
        allowed_collections=key.terms.allowed_collections,
        limits=limits_message(key.terms.limits),
        metadata=key.terms.metadata,
        version=key.version,
        created_at=_timestamp(key.created_at),
        updated_at=_timestamp(key.updated_at),
        expires_at=_timestamp(key.terms.expires_at),
        revoked_at=_timestamp(key.revoked_at),
    )
    if _state(key) == api_key_pb2.KEY_STATE_ACTIVE and _is_ahead(key.previous_expires_at):
        message.previous_prefix = key.previous_prefix or ""
        message.previous_expires_at.CopyFrom(stamped(key.previous_expires_at or 0))
    return message


def _is_ahead(moment: float | None) -> bool:
    return moment is not None and moment > time.time()


def _state(key: ApiKey) -> api_key_pb2.KeyState.ValueType:
    if key.revoked_at is not None:
        return api_key_pb2.KEY_STATE_REVOKED
    if key.terms.expires_at is not None and key.terms.expires_at <= time.time():
        return api_key_pb2.KEY_STATE_EXPIRED
    return api_key_pb2.KEY_STATE_ACTIVE


def lifted(limits: KeyLimits, names: Iterable[str]) -> KeyLimits:
    """Without those that are named as in `KeyLimits`; other names are of no interest."""
    return KeyLimits(
        **{own: None if n in names else getattr(limits, own) for n, own in LIMIT_NAMES.items()}
    )


def changed_limits(limits: KeyLimits, asked: api_key_pb2.KeyLimits) -> KeyLimits:
    """Those that are set, instead of those before."""
    budget = limits.monthly_budget_micro_dollars
    if asked.HasField("monthly_budget_usd"):
        budget = _micro_dollars(asked.monthly_budget_usd)
    return KeyLimits(
        asked.requests_per_minute
        if asked.HasField("requests_per_minute")
        else limits.requests_per_minute,
        asked.tokens_per_minute
        if asked.HasField("tokens_per_minute")
        else limits.tokens_per_minute,
        asked.max_concurrent if asked.HasField("max_concurrent") else limits.max_concurrent,
        budget,
    )


def _micro_dollars(usd: float) -> int:
    # NaN is neither.
    if not 0 <= usd <= _MAX_USD:
        raise InvalidRequestError(
            f"`monthly_budget_usd` must be from 0 to {_MAX_USD:.0f}.", param="monthly_budget_usd"
        )
    return round(usd * _MICRO)


def limits_message(limits: KeyLimits) -> api_key_pb2.KeyLimits:
    """Those that there are."""
    budget = limits.monthly_budget_micro_dollars
    return api_key_pb2.KeyLimits(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        max_concurrent=limits.max_concurrent,
        monthly_budget_usd=None if budget is None else budget / _MICRO,
    )


def _seconds(moment: Timestamp) -> float:
    try:
        return moment.ToMicroseconds() / _MICRO
    except ValueError:
        raise InvalidRequestError("`expires_at` is no time.", param="expires_at") from None


def _timestamp(seconds: float | None) -> Timestamp | None:
    return None if seconds is None else stamped(seconds)


def stamped(seconds: float) -> Timestamp:
    """Of seconds since 1970."""
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * _MICRO))
    return moment
