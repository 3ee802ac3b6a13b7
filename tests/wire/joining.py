"""What the official client makes of a stream of OpenAI's chunks, and what an answer says."""

from collections.abc import Iterable
from typing import Any

import orjson
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

_TEXTS = ("content", "refusal", "reasoning_content")


def joined(events: Iterable[Any]) -> Any:
    """The completion that the client has at the end. Every chunk must be of its type."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in events:
        chunk = ChatCompletionChunk.model_validate_json(orjson.dumps(event), strict=True)
        state.handle_chunk(chunk)
    return state.current_completion_snapshot.to_dict()


def said(answer: Any) -> Any:
    """The one choice's texts, thoughts, calls and reason, and the tokens: without what says
    nothing."""
    (choice,) = answer["choices"]
    message = choice["message"]
    texts = {name: text for name in _TEXTS if (text := message.get(name))}
    thoughts = [
        {name: value for name, value in block.items() if name != "index"}
        for block in message.get("thinking_blocks") or ()
    ]
    calls = [
        (call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return texts, thoughts, calls, choice["finish_reason"], answer["usage"]
