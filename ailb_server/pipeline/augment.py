"""Puts what AILB knows into a request, at one place, and leaves every other byte as it is. Pure.

The place is behind the caller's leading system messages: what comes before it is the same in each
request of a conversation, so that providers' prompt caches keep working; and models whose templates
take system messages only at the beginning take these too.
"""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.json_splice import insert, splice

_SYSTEM_ROLES = frozenset({"system", "developer"})


def augmented(
    request: ChatRequest, notes: Sequence[str], turns: Sequence[JsonObject]
) -> ChatRequest:
    """The request with each of `notes` as a system message, then `turns`.

    A request in Anthropic's format gets the notes as further blocks of `system`, and no turns that
    call tools or answer calls.
    """
    if not notes and not turns:
        return request
    messages: list[JsonObject] = list(request.fields["messages"])
    place = _leading(messages)
    if request.wire == "anthropic":
        turns = [turn for turn in turns if _is_plain(turn)]
    added = [*({"role": "system", "content": note} for note in notes), *turns]
    fields = {**request.fields, "messages": [*messages[:place], *added, *messages[place:]]}
    body = (
        _anthropic_body(request.body, notes, turns)
        if request.wire == "anthropic"
        else insert(request.body, "messages", place, [orjson.dumps(item) for item in added])
    )
    return replace(request, fields=fields, body=body)


def _leading(messages: Sequence[JsonObject]) -> int:
    for index, message in enumerate(messages):
        if message["role"] not in _SYSTEM_ROLES:
            return index
    return len(messages)


def _is_plain(turn: JsonObject) -> bool:
    return turn["role"] in {"user", "assistant"} and isinstance(turn.get("content"), str)


def _anthropic_body(body: bytes, notes: Sequence[str], turns: Sequence[JsonObject]) -> bytes:
    if notes:
        told: Json = orjson.loads(body).get("system") or []
        blocks = [_block(told)] if isinstance(told, str) else list(told)
        body = splice(body, {"system": orjson.dumps([*blocks, *map(_block, notes)])})
    if turns:
        plain = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        body = insert(body, "messages", 0, [orjson.dumps(turn) for turn in plain])
    return body


def _block(text: str) -> JsonObject:
    return {"type": "text", "text": text}
