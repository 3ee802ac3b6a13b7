"""A request in OpenAI's shape, and the chunks that answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from ailb_server.domain.errors import InvalidRequestError, UntranslatableError
from ailb_server.domain.value_object import value_object

# What a JSON parser returns. Any, because JSON's shape is the sender's, and every read is checked.
Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Json]
# The formats in which callers ask: OpenAI's chat completions, and Anthropic's Messages.
Wire: TypeAlias = Literal["openai", "anthropic"]

# AILB's own request fields: read here, never sent to a provider.
KNOWLEDGE_FIELDS = frozenset({"rag_collection", "rag_top_k", "rag_filter", "rag_min_score"})
MEMORY_FIELDS = frozenset({"session_id"})
OWN_FIELDS = KNOWLEDGE_FIELDS | MEMORY_FIELDS


class Operation(StrEnum):
    """What a model is asked to do. All have a model, a JSON body and an answer with usage, and so
    one pipeline."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"


@value_object
class ChatRequest:
    """What a caller asks: a chat, or another operation.

    `body` is the JSON text as the caller wrote it, in the format that `wire` names (the source of
    what is sent on, byte for byte); `fields` are its top-level members, in OpenAI's shape whatever
    the format; `own_fields` names those of AILB that it holds. `headers` go with the body to
    providers of its format. `untranslatable` is why `fields` cannot say all that is asked: only a
    provider of the format can be asked then.
    """

    model: str
    stream: bool
    include_usage: bool
    body: bytes
    fields: Mapping[str, Json]
    own_fields: frozenset[str] = frozenset()
    operation: Operation = Operation.CHAT
    wire: Wire = "openai"
    headers: Mapping[str, str] = field(default_factory=dict)
    untranslatable: InvalidRequestError | None = None

    def require_translatable(self) -> None:
        """For providers that read `fields`. Raises UntranslatableError."""
        if self.untranslatable is not None:
            param = self.untranslatable.facts.get("param")
            raise UntranslatableError(str(self.untranslatable), param=param)


@value_object
class TokenUsage:
    """Tokens a completion took.

    `prompt` includes `cached` and `cache_write`; `completion` includes `reasoning`.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@value_object
class ChatChunk:
    """A piece of an answer: one whole object, or some chunk objects of a stream.

    `events` are the parsed objects, in order, always in OpenAI's shape. `wire` is what a caller of
    the format `wire_format` gets: the JSON body, or whole server-sent events, `[DONE]` included.
    """

    events: Sequence[JsonObject]
    wire: bytes
    usage: TokenUsage | None = None
    wire_format: Wire = "openai"


# The last events of a stream, in OpenAI's and in Anthropic's format.
_ENDS = (b"data: [DONE]", b"event: message_stop")


def is_last(chunk: ChatChunk, *, stream: bool) -> bool:
    """Whether it tells that the answer is over."""
    return not stream or tells_end(chunk.wire)


def tells_end(events: bytes) -> bool:
    """Whether one of these server-sent events is a stream's last. Only where a line begins: a model
    may say the same words in the middle of its answer."""
    return any(end in events and _begins_line(events, end) for end in _ENDS)


def _begins_line(text: bytes, words: bytes) -> bool:
    return text.startswith(words) or b"\n" + words in text or b"\r" + words in text
