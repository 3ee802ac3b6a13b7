"""Reads a request's `rag_…` fields and its question. Pure."""

from collections.abc import Mapping

from ailb_server.domain.chat import KNOWLEDGE_FIELDS, ChatRequest, Json, JsonObject
from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.errors import InvalidRequestError

MAX_TOP_K = 50
_DEFAULT_TOP_K = 3
_MAX_QUESTION = 8_192


def knowledge_query(request: ChatRequest) -> KnowledgeQuery | None:
    """What the request asks of knowledge, if anything. Raises InvalidRequestError."""
    asked = {
        name: request.fields[name]
        for name in request.own_fields & KNOWLEDGE_FIELDS
        if request.fields[name] is not None
    }
    if not asked:
        return None
    collection = asked.get("rag_collection")
    if not collection:
        raise InvalidRequestError(
            f"`{min(asked)}` needs `rag_collection`: the collection to search in.",
            param="rag_collection",
        )
    return KnowledgeQuery(
        collection=collection,
        text=question(request.fields["messages"]),
        top_k=_top_k(asked.get("rag_top_k")),
        filter=_filter(asked.get("rag_filter")),
        min_score=_min_score(asked.get("rag_min_score")),
    )


def question(messages: list[JsonObject]) -> str:
    """The text of the last user's message, cut where no embedding model would read on."""
    for message in reversed(messages):
        if message["role"] == "user":
            return _text(message.get("content"))[:_MAX_QUESTION]
    return ""


def _text(content: Json) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _top_k(value: int | None) -> int:
    top_k = _DEFAULT_TOP_K if value is None else value
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidRequestError(f"`rag_top_k` must be 1 to {MAX_TOP_K}.", param="rag_top_k")
    return top_k


def _filter(value: Mapping[str, Json] | None) -> Mapping[str, Json]:
    return {} if value is None else value


def _min_score(value: float | None) -> float | None:
    if value is not None and not -1 <= value <= 1:
        raise InvalidRequestError("`rag_min_score` must be -1 to 1.", param="rag_min_score")
    return value
