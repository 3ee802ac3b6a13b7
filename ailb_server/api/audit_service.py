"""`ailb.v1.AuditService`: what was done or refused, by whom."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import audit_service_pb2 as pb
from ailb.v1 import audit_service_pb2_grpc as pb_grpc
from ailb_server.api.messages.audit import audit_event, audit_filter
from ailb_server.api.page_token import checked_size, page_token, values_of
from ailb_server.domain.audit import AuditFilter, AuditRecord
from ailb_server.domain.errors import InvalidRequestError

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_PAGES = "audit"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AuditReader(Protocol):
    """The audit log."""

    async def events(self, which: AuditFilter, limit: int) -> Sequence[AuditRecord]:
        """The newest first, at most `limit`. Raises StorageUnavailableError."""
        ...


class AuditService(pb_grpc.AuditServiceServicer):
    """The edge has checked the role."""

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader

    @override
    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: Context
    ) -> pb.ListAuditEventsResponse:
        """Of every tenant."""
        size = checked_size(request.page_size)
        which = audit_filter(request, _before(request.page_token))
        found = await self._reader.events(which, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = page_token(_PAGES, (last.at - _EPOCH) // _MICROSECOND, last.id)
        events = [audit_event(record) for record in found[:size]]
        return pb.ListAuditEventsResponse(events=events, next_page_token=token)


def _before(token: str) -> tuple[datetime, int] | None:
    values = values_of(token, _PAGES, 2)
    if values is None:
        return None
    at, last_id = values
    try:
        return _EPOCH + at * _MICROSECOND, last_id
    except OverflowError:
        raise InvalidRequestError(
            "`page_token` is not one of this list.", param="page_token"
        ) from None
