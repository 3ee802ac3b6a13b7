"""`ailb.v1.MemoryService`: what AILB remembers of conversations."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import memory_service_pb2 as pb
from ailb.v1 import memory_service_pb2_grpc
from ailb_server.api.call import current_call
from ailb_server.api.messages.memory import (
    match_message,
    progress_message,
    session_message,
    turn_message,
)
from ailb_server.api.page_token import checked_size, page_token, values_of
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.memory.conversations import Conversations
from ailb_server.memory.reindexing import Reindexing

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_MAX_MATCHES = 100
_DEFAULT_MATCHES = 10
_SESSIONS = "sessions"
_TURNS = "turns"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Of turns; beyond it no row can be, and no column holds it.
_LAST_TURN = 2**31 - 1


class MemoryService(memory_service_pb2_grpc.MemoryServiceServicer):
    """The caller's tenant's sessions only."""

    def __init__(
        self, conversations: Conversations, reindexing: Reindexing, ttl: timedelta
    ) -> None:
        self._conversations = conversations
        self._reindexing = reindexing
        self._ttl = ttl

    @override
    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Context
    ) -> pb.ListSessionsResponse:
        """The last used first."""
        page = await self._conversations.sessions(
            current_call.get().principal,
            request.user,
            checked_size(request.page_size),
            _after_session(request.page_token),
        )
        token = ""
        if page.next_after is not None:
            last_turn_at, last_id = page.next_after
            token = page_token(_SESSIONS, (last_turn_at - _EPOCH) // _MICROSECOND, last_id)
        sessions = [session_message(session, self._ttl) for session in page.sessions]
        return pb.ListSessionsResponse(sessions=sessions, next_page_token=token)

    @override
    async def GetSession(
        self, request: pb.GetSessionRequest, context: Context
    ) -> pb.GetSessionResponse:
        """NOT_FOUND for another tenant's too."""
        who = current_call.get().principal
        session = await self._conversations.session(who, request.session_id)
        return pb.GetSessionResponse(session=session_message(session, self._ttl))

    @override
    async def ListTurns(
        self, request: pb.ListTurnsRequest, context: Context
    ) -> pb.ListTurnsResponse:
        """Oldest first."""
        (after,) = values_of(request.page_token, _TURNS, 1) or (-1,)
        page = await self._conversations.turns(
            current_call.get().principal,
            request.session_id,
            checked_size(request.page_size),
            max(-1, min(after, _LAST_TURN)),
        )
        token = "" if page.next_after is None else page_token(_TURNS, page.next_after)
        turns = [turn_message(turn) for turn in page.turns]
        return pb.ListTurnsResponse(turns=turns, next_page_token=token)

    @override
    async def SearchTurns(
        self, request: pb.SearchTurnsRequest, context: Context
    ) -> pb.SearchTurnsResponse:
        """Best first."""
        if not 0 <= request.limit <= _MAX_MATCHES:
            raise InvalidRequestError(f"`limit` must be from 1 to {_MAX_MATCHES}.", param="limit")
        found = await self._conversations.search(
            current_call.get().principal,
            request.query,
            request.session_id,
            request.limit or _DEFAULT_MATCHES,
        )
        return pb.SearchTurnsResponse(matches=[match_message(*match) for match in found])

    @override
    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, context: Context
    ) -> pb.DeleteSessionResponse:
        """NOT_FOUND for another tenant's too."""
        await self._conversations.delete(current_call.get().principal, request.session_id)
        return pb.DeleteSessionResponse()

    @override
    async def DeleteSessions(
        self, request: pb.DeleteSessionsRequest, context: Context
    ) -> pb.DeleteSessionsResponse:
        """An end user's, or all of the tenant's."""
        who = current_call.get().principal
        deleted = await self._conversations.delete_all(who, request.user, everyone=request.all)
        return pb.DeleteSessionsResponse(deleted=deleted)

    @override
    async def ReindexSessions(
        self, request: pb.ReindexSessionsRequest, context: Context
    ) -> AsyncIterator[pb.ReindexSessionsResponse]:
        """A message for each batch."""
        async with aclosing(self._reindexing.run(current_call.get().principal)) as steps:
            async for progress in steps:
                yield pb.ReindexSessionsResponse(progress=progress_message(progress))


def _after_session(token: str) -> tuple[datetime, int] | None:
    values = values_of(token, _SESSIONS, 2)
    if values is None:
        return None
    microseconds, last_id = values
    try:
        return _EPOCH + timedelta(microseconds=microseconds), last_id
    except OverflowError:
        raise InvalidRequestError(
            "`page_token` is not one of this list.", param="page_token"
        ) from None
