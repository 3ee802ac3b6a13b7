"""Questions to the usage ledger, and its answers, as `ailb.v1` messages."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from ailb.v1 import usage_pb2 as pb
from ailb.v1 import usage_service_pb2 as service
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import Principal
from ailb_server.domain.usage import Dimension, UsageFilter, UsageSum

_MICRO = 1e6
_MAX_KEY_ID = 2**31 - 1
_DIMENSIONS = ", ".join(f"`{dimension.value}`" for dimension in Dimension)

_Anyones: TypeAlias = service.ListUsageRequest | service.ExportUsageRequest


def anyones(request: _Anyones, now: datetime) -> UsageFilter:
    """What an admin asks. Raises InvalidRequestError."""
    start, end = _times(request, now)
    if request.key_id > _MAX_KEY_ID:
        raise InvalidRequestError("`key_id` is no key's number.", param="key_id")
    return UsageFilter(
        start,
        end,
        tenant=_text(request.tenant),
        key_id=request.key_id or None,
        provider=_text(request.provider),
        model=_text(request.model),
        session_id=_text(request.session),
        request_id=_text(request.request_id),
    )


def ones_own(request: service.ListOwnUsageRequest, who: Principal, now: datetime) -> UsageFilter:
    """What a caller may ask of its own. Raises InvalidRequestError."""
    start, end = _times(request, now)
    return UsageFilter(
        start,
        end,
        tenant_id=who.tenant_id,
        key_id=None if request.whole_tenant else who.key_id,
        without_key=not request.whole_tenant and who.key_id is None,
        provider=_text(request.provider),
        model=_text(request.model),
        session_id=_text(request.session),
        request_id=_text(request.request_id),
    )


def dimensions(names: Sequence[str]) -> Sequence[Dimension]:
    """Each once, in the order that they were asked for. Raises InvalidRequestError."""
    try:
        return tuple(dict.fromkeys(Dimension(name) for name in names))
    except ValueError:
        raise InvalidRequestError(
            f"`group_by` must be among {_DIMENSIONS}.", param="group_by"
        ) from None


def usage_sum(found: UsageSum) -> pb.UsageSum:
    """A sum."""
    return pb.UsageSum(
        day=found.day,
        tenant=found.tenant,
        key_id=found.key_id,
        key_name=found.key_name,
        provider=found.provider,
        model=found.model,
        outcome=found.outcome,
        requests=found.requests,
        failed_requests=found.failed,
        cancelled_requests=found.cancelled,
        prompt_tokens=found.prompt_tokens,
        cached_tokens=found.cached_tokens,
        cache_write_tokens=found.cache_write_tokens,
        completion_tokens=found.completion_tokens,
        reasoning_tokens=found.reasoning_tokens,
        cost_usd=found.cost_micro_dollars / _MICRO,
        cost_micro_dollars=found.cost_micro_dollars,
        unpriced_requests=found.unpriced,
        estimated_requests=found.estimated,
        avg_latency_ms=found.latency_ms,
        avg_first_token_ms=found.first_token_ms,
    )


def _times(
    request: _Anyones | service.ListOwnUsageRequest, now: datetime
) -> tuple[datetime, datetime]:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start, end = month, now
    if request.HasField("start_time"):
        start = _moment(request.start_time, "start_time")
    if request.HasField("end_time"):
        end = _moment(request.end_time, "end_time")
    if end < start:
        raise InvalidRequestError("`end_time` is before `start_time`.", param="end_time")
    return start, end


def _moment(stamp: Timestamp, param: str) -> datetime:
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(f"`{param}` is no time.", param=param) from None


def _text(text: str) -> str:
    # Postgres has no NUL, and no row either.
    return text.replace("\0", "")
