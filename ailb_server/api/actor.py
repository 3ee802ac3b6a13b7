"""Who makes a call, as the audit log tells it."""

from typing import Any, TypeAlias

import grpc

from ailb_server.api.call import current_call
from ailb_server.api.credentials import peer
from ailb_server.domain.audit import Actor

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def actor(context: Context) -> Actor:
    """Of the running call."""
    call = current_call.get()
    who = call.principal
    return Actor(who.name, who.key_id, peer(context, rest=call.rest), call.request_id)
