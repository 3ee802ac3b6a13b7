"""What a chat is given beside what its caller wrote: memory and knowledge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.principal import Principal
from ailb_server.domain.value_object import value_object


@value_object
class Recalled:
    """What a session brings to a request.

    `turns` are its last messages in OpenAI's shape, oldest first; they begin with a user's and hold
    tool calls with their results or not at all. `similar` is the text of one system message that
    quotes older turns, or None. Nothing of it is in the request already. `degraded`: the store did
    not answer; `turns` are at most those that wait to be stored.
    """

    turns: Sequence[JsonObject] = ()
    similar: str | None = None
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said, in OpenAI's shape, and who it was.

    `message` is the assistant's message; `completion_tokens` None if the provider told none;
    `finish_reason` OpenAI's, or `cancelled` if the caller left before the end.
    """

    message: JsonObject
    provider: str
    model: str
    finish_reason: str
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as its caller wrote it, and its answer. `request_id` tells a retry from a new
    one."""

    who: Principal
    session_id: str
    request_id: str
    request: ChatRequest
    said: Said


class Memory(Protocol):
    """Conversations, kept. Neither method raises for an outage: the chat goes on without."""

    async def recall(self, who: Principal, session_id: str, request: ChatRequest) -> Recalled:
        """What the session said before; nothing for a session that does not exist yet."""
        ...

    async def remember(self, exchange: Exchange) -> None:
        """Stores what of the exchange is new. Once it returns, every instance's `recall` sees it;
        in an outage it returns in bounded time, and the exchange is stored when that is over."""
        ...


@dataclass(frozen=True, slots=True)
class KnowledgeQuery:
    """What a chat asks of knowledge: its `rag_…` fields, checked, and its question.

    `top_k` is 1 to 50; `filter` holds members that a document's metadata must have; `min_score` is
    a cosine similarity.
    """

    collection: str
    text: str
    top_k: int = 3
    filter: Mapping[str, Json] = field(default_factory=dict)
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that was put before the model; the fields of `ailb.v1.Source`."""

    number: int
    collection: str
    document_id: str
    title: str
    source: str
    score: float
    first_chunk: int
    last_chunk: int
    snippet: str


@value_object
class Retrieved:
    """`message` is the text of one delimited system message with numbered sources, or None if
    nothing was found. `degraded`: the store or the embedder did not answer."""

    message: str | None = None
    sources: Sequence[Source] = ()
    degraded: bool = False


class Knowledge(Protocol):
    """Documents, searched."""

    async def retrieve(self, who: Principal, query: KnowledgeQuery) -> Retrieved:
        """Raises CollectionNotFoundError; an outage only degrades."""
        ...
