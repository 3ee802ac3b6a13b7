"""`ailb.v1.UsageService`: what requests used and cost."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.v1 import usage_service_pb2 as pb
from ailb.v1 import usage_service_pb2_grpc as pb_grpc
from ailb_server.api import usage_csv
from ailb_server.api.call import current_call
from ailb_server.api.messages.usage import anyones, dimensions, ones_own, usage_sum
from ailb_server.api.page_token import checked_size, page_token, values_of
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.usage import Dimension, UsageFilter, UsagePage

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_PAGES = "usage"
# Every page sums anew: who wants more of them wants an export.
_MAX_OFFSET = 100_000


class UsageReader(Protocol):
    """The ledger. Both raise StorageUnavailableError."""

    async def sums(
        self, which: UsageFilter, by: Sequence[Dimension], offset: int, limit: int
    ) -> UsagePage:
        """Sums from the `offset`th on: by day, then the dearest first."""
        ...

    def rows(self, which: UsageFilter) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        """The rows, oldest first, some at a time; members as `usage_csv.COLUMNS`."""
        ...


class UsageService(pb_grpc.UsageServiceServicer):
    """The edge has checked the role."""

    def __init__(self, reader: UsageReader) -> None:
        self._reader = reader

    @override
    async def ListUsage(
        self, request: pb.ListUsageRequest, context: Context
    ) -> pb.ListUsageResponse:
        """Of every tenant."""
        page, token = await self._page(request, anyones(request, datetime.now(UTC)))
        sums = [usage_sum(one) for one in page.sums]
        return pb.ListUsageResponse(sums=sums, total=usage_sum(page.total), next_page_token=token)

    @override
    async def ListOwnUsage(
        self, request: pb.ListOwnUsageRequest, context: Context
    ) -> pb.ListOwnUsageResponse:
        """Of the caller's tenant, whatever is asked."""
        own = ones_own(request, current_call.get().principal, datetime.now(UTC))
        page, token = await self._page(request, own)
        sums = [usage_sum(one) for one in page.sums]
        return pb.ListOwnUsageResponse(
            sums=sums, total=usage_sum(page.total), next_page_token=token
        )

    @override
    async def ExportUsage(
        self, request: pb.ExportUsageRequest, context: Context
    ) -> AsyncIterator[pb.ExportUsageResponse]:
        """What ends after the call has begun is not in it, unless `end_time` says so."""
        which = anyones(request, datetime.now(UTC))
        head = usage_csv.header()
        async with aclosing(self._reader.rows(which)) as pages:
            async for rows in pages:
                yield _written(head + usage_csv.lines(rows))
                head = b""
        if head:
            yield _written(head)

    async def _page(
        self, request: pb.ListUsageRequest | pb.ListOwnUsageRequest, which: UsageFilter
    ) -> tuple[UsagePage, str]:
        size = checked_size(request.page_size)
        (offset,) = values_of(request.page_token, _PAGES, 1) or (0,)
        if not 0 <= offset <= _MAX_OFFSET:
            raise InvalidRequestError("`page_token` is not one of this list.", param="page_token")
        page = await self._reader.sums(which, dimensions(request.group_by), offset, size)
        more = page.more and offset + size <= _MAX_OFFSET
        return page, page_token(_PAGES, offset + size) if more else ""


def _written(data: bytes) -> pb.ExportUsageResponse:
    return pb.ExportUsageResponse(body=HttpBody(content_type=usage_csv.CONTENT_TYPE, data=data))
