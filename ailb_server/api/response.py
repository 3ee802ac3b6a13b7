"""A call's response, whose headers are sent once."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody

from ailb_server.api.call import Writing

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Headers: TypeAlias = Sequence[tuple[str, str]]

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Response:
    """Begun by whoever has something to tell first: an answer, a failure, or a beat."""

    __slots__ = ("_context", "_writing", "begun")

    def __init__(self, context: Context, writing: Writing) -> None:
        self._context = context
        self._writing = writing
        self.begun = False

    async def begin(self, headers: Headers) -> bool:
        """Sends the headers; False, and nothing is sent, if others were."""
        if self.begun:
            return False
        self.begun = True
        self._writing.busy = True
        await self._context.send_initial_metadata(headers)
        self._writing.busy = False
        return True

    async def beat(self, headers: Headers, event: bytes) -> None:
        """Writes an event that says nothing, if need be as the first."""
        await self.begin(headers)
        body = HttpBody(content_type=EVENT_STREAM, data=event)
        # See `Edge`: the context of a body's pieces does not serialize.
        await self._context.write(body.SerializeToString())
