"""Who makes a call of ModuleService, where its answer has no context at hand."""

from ailb_server.api.edge import current_call
from ailb_server.domain.audit import Actor


def caller() -> Actor:
    """Of the running call, by its key."""
    call = current_call.get()
    return Actor(call.principal.name, call.principal.key_id, request_id=call.request_id)
