"""Requests and exchanges of conversations, for tests of memory."""

import itertools

from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.context import Exchange, Said
from ailb_server.domain.principal import ANYONE, Principal

_numbers = itertools.count(1)


def user(content: Json) -> JsonObject:
    """What a user says."""
    return {"role": "user", "content": content}


def assistant(content: str | None, *calls: str) -> JsonObject:
    """What a model says, and the ids of its tool calls."""
    message: JsonObject = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            for call in calls
        ]
    return message


def tool(call: str, content: str = "42") -> JsonObject:
    """A tool's result."""
    return {"role": "tool", "tool_call_id": call, "content": content}


def request(*messages: JsonObject, **fields: Json) -> ChatRequest:
    """A chat of these messages."""
    # Not as bytes: memory does not read them, and they could not say a lone surrogate.
    members = {"model": "m", "messages": list(messages), **fields}
    return ChatRequest("m", stream=False, include_usage=False, body=b"{}", fields=members)


def exchange(
    *messages: JsonObject,
    said: str | JsonObject = "Good.",
    session: str = "s",
    who: Principal = ANYONE,
    request_id: str | None = None,
) -> Exchange:
    """A chat of these messages and what was said; a request id of its own unless one is given."""
    message = assistant(said) if isinstance(said, str) else said
    return Exchange(
        who=who,
        session_id=session,
        request_id=request_id or f"r-{next(_numbers)}",
        request=request(*messages),
        said=Said(message, "openai", "gpt-x", "stop", completion_tokens=7),
    )
