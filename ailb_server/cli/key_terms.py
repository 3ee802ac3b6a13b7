"""What `ailb keys --set WHAT=VALUE` says, put into a request."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from ailb.v1 import api_key_pb2
from ailb.v1 import api_key_service_pb2 as pb

Request: TypeAlias = pb.CreateApiKeyRequest | pb.UpdateApiKeyRequest

_NOTE = "note."
_RATES = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "concurrent": "max_concurrent",
}
_BUDGET = "monthly_budget_usd"
_CLEARED = {
    "model": "allowed_models",
    "collection": "allowed_collections",
    "budget": _BUDGET,
    "expires": "expires_at",
    "note": "metadata",
    "cache": "cache_ttl_seconds",
    **_RATES,
}
_SPAN = re.compile(r"([0-9]{1,6})([dhm])")
_DIGITS = re.compile(r"[0-9]{1,9}|[1-3][0-9]{9}")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def role_number(name: str) -> api_key_pb2.KeyRole.ValueType:
    """Raises ValueError for a role that does not exist."""
    try:
        return api_key_pb2.KeyRole.Value(f"KEY_ROLE_{name.upper()}")
    except ValueError:
        raise ValueError(f"--role {name}: must be user, admin or module") from None


def cleared(names: Iterable[str]) -> list[str]:
    """The fields that `--clear` names. Raises ValueError."""
    for name in names:
        if name not in _CLEARED:
            raise ValueError(f"--clear {name}: must be one of {', '.join(sorted(_CLEARED))}")
    return [_CLEARED[name] for name in names]


def fill(request: Request, terms: Iterable[str]) -> None:
    """Raises ValueError for what is not WHAT=VALUE, or a value that does not fit."""
    for term in terms:
        what, equals, value = term.partition("=")
        if not equals or not value:
            raise ValueError(f"--set {term}: must be WHAT=VALUE")
        try:
            _set(request, what, value)
        except ValueError as error:
            raise ValueError(f"--set {term}: {error}") from None


def fill_limits(limits: api_key_pb2.KeyLimits, terms: Iterable[str]) -> None:
    """As `fill`, of terms that are limits."""
    request = pb.UpdateApiKeyRequest()
    fill(request, terms)
    limits.CopyFrom(request.limits)
    request.ClearField("limits")
    if request != pb.UpdateApiKeyRequest():
        raise ValueError("--set: must be rpm, tpm, concurrent or budget")


def _set(request: Request, what: str, value: str) -> None:
    if what == "model":
        request.allowed_models.append(value)
    elif what == "collection":
        request.allowed_collections.append(value)
    elif what in _RATES:
        setattr(request.limits, _RATES[what], _whole(value))
    elif what == "budget":
        request.limits.monthly_budget_usd = _dollars(value)
    elif what == "cache":
        request.cache_ttl_seconds = _whole(value)
    else:
        _set_other(request, what, value)


def _set_other(request: Request, what: str, value: str) -> None:
    if what == "signature":
        request.require_signature = _signature(value)
    elif what == "expires":
        request.expires_at.FromDatetime(_moment(value))
    elif what.startswith(_NOTE):
        request.metadata[what.removeprefix(_NOTE)] = value
    else:
        raise ValueError("WHAT is not one of those that --help names")


def _whole(value: str) -> int:
    # Not `int`: it takes 1_000 and leading blanks, and fails in words of Python.
    if not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number")
    return int(value)


def _dollars(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError("must be a number of US dollars") from None


def _signature(value: str) -> bool:
    if value not in {"required", "optional"}:
        raise ValueError("must be required or optional")
    return value == "required"


def _moment(value: str) -> datetime:
    """`30d`, `12h`, `5m` from now, or a date or time of ISO 8601, in UTC unless it says."""
    if span := _SPAN.fullmatch(value):
        return datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
