"""The answer plan: a pure function of the request, with no byte of wire format in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import orjson

from ailb_server.demo.behaviour import MAX_WORDS, Behaviour
from ailb_server.demo.errors import missing
from ailb_server.demo.prompt import Prompt, read_messages, read_text
from ailb_server.demo.schema import smallest
from ailb_server.demo.tools import ToolCall, tool_calls

LABEL: Final = "[demo]"
_FILLER: Final = "These words only fill the answer, so that a stream has something to carry."
_WORD: Final = re.compile(r"\s*\S+|\s+$")
_SLICES: Final = 1000
_MAX_TEXTS: Final = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed request, its bytes and their fingerprint, the behaviour chosen for it, and the
    time (Unix seconds)."""

    fields: Mapping[str, object]
    raw: bytes
    tag: str
    model: str
    how: Behaviour
    created: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: its text in the pieces a stream sends (one piece is one token), or its calls."""

    pieces: Sequence[str]
    calls: tuple[ToolCall, ...]
    finish: str

    @property
    def tokens(self) -> int:
        """Completion tokens of this choice."""
        return len(self.pieces) + sum(1 + len(call.fragments()) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; the total is the sum of prompt and completion."""

    prompt: int
    completion: int
    cached: int
    cache_write: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an answer says. `logprobs` is None, or how many alternatives per token."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage
    logprobs: int | None
    include_usage: bool


def plan_chat(asked: Asked) -> Plan:
    """The plan of a chat answer. Raises ApiError where `tools` or the schema are impossible."""
    fields, how = asked.fields, asked.how
    prompt = read_messages(fields["messages"])
    calls = tool_calls(
        fields, eager=how.eager_tools and prompt.role != "tool", count=how.tool_calls, tag=asked.tag
    )
    count = _whole(fields.get("n"), 1)
    if calls:
        choices = (Choice((), calls, "tool_calls"),) * count
    else:
        choices = tuple(_choice(asked, prompt, index, count) for index in range(count))
    return _plan(asked, f"chatcmpl-demo-{asked.tag}", choices, prompt.tokens)


def plan_completion(asked: Asked) -> Plan:
    """The plan of an answer of the older /v1/completions: every prompt `n` times."""
    given = asked.fields["prompt"]
    texts = given if isinstance(given, list) and given and not _is_number(given[0]) else [given]
    prompts = [read_text(text) for text in texts[:_MAX_TEXTS]]
    count = _whole(asked.fields.get("n"), 1)
    choices = tuple(
        _choice(asked, prompt, index, count * len(prompts))
        for prompt in prompts
        for index in range(count)
    )
    tokens = sum(prompt.tokens for prompt in prompts)
    return _plan(asked, f"cmpl-demo-{asked.tag}", choices, tokens)


def fingerprint(raw: bytes) -> str:
    """Twelve hexadecimal digits of the request's bytes: equal requests get equal ids."""
    return hashlib.blake2b(raw, digest_size=6).hexdigest()


def _plan(asked: Asked, plan_id: str, choices: tuple[Choice, ...], prompt_tokens: int) -> Plan:
    fields, counts = asked.fields, asked.how.usage
    options = fields.get("stream_options")
    return Plan(
        id=plan_id,
        model=asked.model,
        created=asked.created,
        choices=choices,
        usage=Usage(
            prompt=counts.get("prompt_tokens", prompt_tokens),
            completion=counts.get("completion_tokens", sum(c.tokens for c in choices)),
            cached=counts.get("cached_tokens", 0),
            cache_write=counts.get("cache_write_tokens", 0),
            reasoning=counts.get("reasoning_tokens", 0),
        ),
        logprobs=_whole(fields.get("top_logprobs"), 0) if fields.get("logprobs") is True else None,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _choice(asked: Asked, prompt: Prompt, index: int, count: int) -> Choice:
    if asked.how.echo and index == 0:
        # Never cut: a test reads from it what arrived, max_tokens and stop included.
        return Choice(_slices(asked.raw.decode(errors="replace")), (), "stop")
    text = _text(asked, prompt, index, count)
    cut = _before_stop(text, asked.fields.get("stop"))
    pieces = _WORD.findall(cut) if " " in cut else _slices(cut)
    limit = _limit(asked.fields)
    if limit is not None and len(pieces) > limit:
        return Choice(pieces[:limit], (), "length")
    return Choice(pieces, (), "stop")


def _text(asked: Asked, prompt: Prompt, index: int, count: int) -> str:
    wanted = asked.fields.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema" and isinstance(wanted, dict):
        return orjson.dumps(smallest(_schema(wanted))).decode()
    if kind == "json_object":
        return orjson.dumps({"demo": True, "answer": prompt.reply()}).decode()
    number = f" (answer {index + 1})" if index else ""
    text = f"{LABEL}{number} {prompt.reply()}"
    words = asked.how.words
    return text if words is None else _stretched(text, min(words, MAX_WORDS // count))


def _schema(wanted: Mapping[str, object]) -> object:
    inner = wanted.get("json_schema")
    if not isinstance(inner, dict):
        raise missing("response_format.json_schema")
    return inner.get("schema")


def _stretched(text: str, words: int) -> str:
    """Exactly so many words: the text, then filler."""
    own = text.split()[:words]
    return " ".join([*own, *islice(cycle(_FILLER.split()), words - len(own))])


def _before_stop(text: str, stop: object) -> str:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    for word in stops:
        if word:
            text = text.partition(word)[0]
    return text


def _limit(fields: Mapping[str, object]) -> int | None:
    """The smaller of max_completion_tokens and the deprecated max_tokens."""
    given = (fields.get("max_completion_tokens"), fields.get("max_tokens"))
    return min((limit for limit in given if isinstance(limit, int)), default=None)


def _slices(text: str) -> list[str]:
    """Text without words, such as JSON, in at most a thousand pieces."""
    size = max(8, -(-len(text) // _SLICES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _is_number(value: object) -> bool:
    return isinstance(value, int)
