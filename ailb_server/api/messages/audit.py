"""Questions to the audit log, and its rows, as `ailb.v1` messages."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import get_args

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from ailb.v1 import audit_pb2 as pb
from ailb.v1 import audit_service_pb2 as service
from ailb_server.api.messages.structs import struct_of
from ailb_server.api.messages.times import timestamp
from ailb_server.domain.audit import AuditFilter, AuditRecord, Outcome
from ailb_server.domain.errors import InvalidRequestError

_OUTCOMES: tuple[str, ...] = get_args(Outcome)
_MAX_KEY_ID = 2**31 - 1


def audit_filter(
    request: service.ListAuditEventsRequest, before: tuple[datetime, int] | None
) -> AuditFilter:
    """What is asked for, on the page after `before`. Raises InvalidRequestError."""
    if request.outcome and request.outcome not in _OUTCOMES:
        names = ", ".join(f"`{name}`" for name in _OUTCOMES)
        raise InvalidRequestError(f"`outcome` must be among {names}.", param="outcome")
    if request.actor_key_id > _MAX_KEY_ID:
        raise InvalidRequestError("`actor_key_id` is no key's number.", param="actor_key_id")
    has_start, has_end = request.HasField("start_time"), request.HasField("end_time")
    start = _moment(request.start_time if has_start else None, "start_time")
    end = _moment(request.end_time if has_end else None, "end_time")
    if start and end and end < start:
        raise InvalidRequestError("`end_time` is before `start_time`.", param="end_time")
    return AuditFilter(
        start,
        end,
        action=_text(request.action),
        actor=_text(request.actor),
        actor_key_id=request.actor_key_id or None,
        outcome=request.outcome,
        subject=_text(request.subject),
        tenant=_text(request.tenant),
        request_id=_text(request.request_id),
        before=before,
    )


def audit_event(record: AuditRecord) -> pb.AuditEvent:
    """A row."""
    event = record.event
    return pb.AuditEvent(
        id=str(record.id),
        at=timestamp(record.at),
        action=event.action,
        subject=event.subject,
        outcome=event.outcome,
        tenant=record.tenant,
        actor=event.actor.name,
        actor_key_id=event.actor.key_id,
        peer=event.actor.peer,
        before=_struct(event.before),
        after=_struct(event.after),
        times=event.times,
        request_id=event.actor.request_id,
        instance=record.instance,
    )


def _struct(value: Mapping[str, object] | None) -> Struct | None:
    return None if value is None else struct_of(dict(value))


def _moment(stamp: Timestamp | None, param: str) -> datetime | None:
    if stamp is None:
        return None
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(f"`{param}` is no time.", param=param) from None


def _text(text: str) -> str:
    # Postgres has no NUL, and no row either.
    return text.replace("\0", "")
