"""An answer before any fault has touched it: a status with a body, or a stream's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ailb_server.demo.answer import Asked, plan_chat, plan_completion
from ailb_server.demo.embeddings import embeddings_body
from ailb_server.demo.errors import ApiError
from ailb_server.demo.validate import check_chat, check_completion
from ailb_server.demo.wire import chat_body, chat_events, completion_body, completion_events

JSON: Final = "application/json"
SSE: Final = "text/event-stream; charset=utf-8"
_MERGED: Final = "usage_with_choices"


@dataclass(frozen=True, slots=True)
class Reply:
    """`events` are payloads without their `data:` framing; where they are, `body` is empty."""

    status: int
    body: bytes
    content_type: str = JSON
    events: Sequence[bytes] | None = None


def chat(asked: Asked) -> Reply:
    """POST /v1/chat/completions. Raises ApiError."""
    check_chat(asked.fields)
    plan = plan_chat(asked)
    if asked.fields.get("stream"):
        return _stream(chat_events(plan, usage_with_choices=asked.how.fault == _MERGED))
    return Reply(200, chat_body(plan))


def completions(asked: Asked) -> Reply:
    """POST /v1/completions. Raises ApiError."""
    check_completion(asked.fields)
    plan = plan_completion(asked)
    if asked.fields.get("stream"):
        return _stream(completion_events(plan, usage_with_choices=asked.how.fault == _MERGED))
    return Reply(200, completion_body(plan))


def embeddings(asked: Asked) -> Reply:
    """POST /v1/embeddings. Raises ApiError."""
    return Reply(200, embeddings_body(asked))


def error_reply(error: ApiError) -> Reply:
    """An error as OpenAI sends it."""
    return Reply(error.status, error.body())


def _stream(events: Sequence[bytes]) -> Reply:
    return Reply(200, b"", SSE, events)
