"""What a caller says beside the body of a chat, on both faces, and who it is."""

from typing import Any, TypeAlias

import grpc

from ailb_server.api.edge import current_call
from ailb_server.pipeline.chat import CallWishes

STRATEGY_KEY = "x-ailb-routing-strategy"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def call_wishes(context: Context) -> CallWishes:
    """`x-ailb-routing-strategy` (a header to Envoy, metadata to gRPC), and gRPC's own deadline."""
    strategy = None
    for key, value in context.invocation_metadata() or ():
        if key == STRATEGY_KEY and isinstance(value, str):
            strategy = value
    return CallWishes(strategy, context.time_remaining(), current_call.get().principal)
