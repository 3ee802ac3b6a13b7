"""What a caller says beside the body of a chat, on both faces, and who it is."""

from typing import Any, TypeAlias

import grpc

from ailb_server.api.edge import current_call
from ailb_server.domain.route import Face
from ailb_server.domain.session_id import check_session_id
from ailb_server.pipeline.wishes import CallWishes

STRATEGY_KEY = "x-ailb-routing-strategy"
SESSION_KEY = "x-session-id"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def call_wishes(context: Context) -> CallWishes:
    """Who calls; `x-ailb-routing-strategy` and `x-session-id` (headers to Envoy, metadata to gRPC);
    gRPC's own deadline."""
    strategy = session_id = None
    metadata = context.invocation_metadata() or ()
    for key, value in metadata:
        if key == STRATEGY_KEY and isinstance(value, str):
            strategy = value
        elif key == SESSION_KEY and isinstance(value, str) and value:
            session_id = check_session_id(value)
    call = current_call.get()
    return CallWishes(
        strategy,
        context.time_remaining(),
        call.principal,
        session_id,
        call.request_id,
        Face.REST if call.rest else Face.GRPC,
        metadata,
    )
