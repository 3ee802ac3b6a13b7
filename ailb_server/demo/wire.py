"""A plan as OpenAI's bytes: one JSON body, or the payloads of a stream's events.

Field names, their order and the nulls are those of the API (openai/types/chat/*.py and
openai/types/completion*.py of the openai package 3.x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

import orjson

from ailb_server.demo.answer import Choice, Plan, Usage

DONE: Final = b"[DONE]"
FINGERPRINT: Final = "demo"
_END: Final = b',"logprobs":null,"finish_reason":null}'


def chat_body(plan: Plan) -> bytes:
    """`chat.completion`, as one JSON object."""
    choices: list[dict[str, object]] = [
        {
            "index": index,
            "message": _message(choice),
            "logprobs": _logprobs(choice.pieces, plan.logprobs),
            "finish_reason": choice.finish,
        }
        for index, choice in enumerate(plan.choices)
    ]
    body = _envelope(plan, "chat.completion", choices)
    return orjson.dumps(body | {"service_tier": "default", "system_fingerprint": FINGERPRINT})


def completion_body(plan: Plan) -> bytes:
    """`text_completion`, as one JSON object."""
    choices: list[dict[str, object]] = [
        {
            "text": "".join(choice.pieces),
            "index": index,
            "logprobs": None,
            "finish_reason": choice.finish,
        }
        for index, choice in enumerate(plan.choices)
    ]
    body = _envelope(plan, "text_completion", choices)
    return orjson.dumps(body | {"system_fingerprint": FINGERPRINT})


def chat_events(plan: Plan, *, usage_with_choices: bool = False) -> list[bytes]:
    """`chat.completion.chunk` payloads, `[DONE]` included.

    Per choice: the role with content "", then the pieces, then the finish reason; choices are
    interleaved. With `include_usage` a last chunk without choices carries the usage, and
    every other chunk `"usage":null`. `usage_with_choices` puts it into the last finish chunk
    instead, as some providers do.
    """
    per_choice = [_chat_choice(plan, index, c) for index, c in enumerate(plan.choices)]
    head = _head(plan, "chat.completion.chunk") | {"service_tier": "default"}
    return _events(plan, head, per_choice, merged=usage_with_choices)


def completion_events(plan: Plan, *, usage_with_choices: bool = False) -> list[bytes]:
    """`text_completion` payloads, `[DONE]` included."""
    per_choice = [_text_choice(index, c) for index, c in enumerate(plan.choices)]
    head = _head(plan, "text_completion")
    return _events(plan, head, per_choice, merged=usage_with_choices)


def _head(plan: Plan, kind: str) -> dict[str, object]:
    return {"id": plan.id, "object": kind, "created": plan.created, "model": plan.model}


def _envelope(plan: Plan, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
    return _head(plan, kind) | {"choices": choices, "usage": _usage(plan.usage)}


def _events(
    plan: Plan, head: dict[str, object], per_choice: list[Iterator[bytes]], *, merged: bool
) -> list[bytes]:
    fields = orjson.dumps(head | {"system_fingerprint": FINGERPRINT})
    start = fields[:-1] + b',"choices":['
    end = b'],"usage":null}' if plan.include_usage else b"]}"
    usage = b'],"usage":' + orjson.dumps(_usage(plan.usage)) + b"}"
    rounds = per_choice if len(per_choice) == 1 else [_interleaved(per_choice)]
    events = [start + choice + end for stream in rounds for choice in stream]
    if merged:
        events[-1] = events[-1].removesuffix(end) + usage
    elif plan.include_usage:
        events.append(start + usage)
    events.append(DONE)
    return events


def _interleaved(streams: list[Iterator[bytes]]) -> Iterator[bytes]:
    for turn in zip_longest(*streams):
        yield from (event for event in turn if event is not None)


def _chat_choice(plan: Plan, index: int, choice: Choice) -> Iterator[bytes]:
    start = b'{"index":%d,"delta":' % index
    content = b"null" if choice.calls else b'""'
    yield start + b'{"role":"assistant","content":' + content + b',"refusal":null}' + _END
    yield from _call_deltas(start, choice)
    for piece in choice.pieces:
        delta = start + b'{"content":' + orjson.dumps(piece) + b"}"
        yield delta + (_END if plan.logprobs is None else _scored(piece, plan.logprobs))
    finish = choice.finish.encode()
    yield start + b'{},"logprobs":null,"finish_reason":"' + finish + b'"}'


def _call_deltas(start: bytes, choice: Choice) -> Iterator[bytes]:
    """Each call: id, type and name with empty arguments first, then the arguments' fragments."""
    for position, call in enumerate(choice.calls):
        first = {
            "index": position,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield start + b'{"tool_calls":[' + orjson.dumps(first) + b"]}" + _END
        for fragment in call.fragments():
            more = {"index": position, "function": {"arguments": fragment}}
            yield start + b'{"tool_calls":[' + orjson.dumps(more) + b"]}" + _END


def _text_choice(index: int, choice: Choice) -> Iterator[bytes]:
    middle = b',"index":%d' % index
    for piece in choice.pieces:
        yield b'{"text":' + orjson.dumps(piece) + middle + _END
    finish = choice.finish.encode()
    yield b'{"text":""' + middle + b',"logprobs":null,"finish_reason":"' + finish + b'"}'


def _message(choice: Choice) -> dict[str, object]:
    if not choice.calls:
        text = "".join(choice.pieces)
        return {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in choice.calls
    ]
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": calls,
        "refusal": None,
        "annotations": [],
    }


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _scored(piece: str, alternatives: int) -> bytes:
    scores = orjson.dumps(_logprobs([piece], alternatives))
    return b',"logprobs":' + scores + b',"finish_reason":null}'


def _logprobs(pieces: Sequence[str], alternatives: int | None) -> dict[str, object] | None:
    if alternatives is None:
        return None
    return {"content": [_token(piece, alternatives) for piece in pieces], "refusal": None}


def _token(piece: str, alternatives: int) -> dict[str, object]:
    """The piece is the likeliest token; each alternative is one nat less likely."""
    others = [
        _score(piece if rank == 0 else f"{piece}~{rank}", rank) for rank in range(alternatives)
    ]
    return {**_score(piece, 0), "top_logprobs": others}


def _score(token: str, rank: int) -> dict[str, object]:
    return {"token": token, "logprob": -0.125 - rank, "bytes": list(token.encode())}
