"""The local model as the provider `local`: `POST /v1/embeddings` serves it under its name."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import orjson

from ailb_server.domain.chat import OWN_FIELDS, ChatChunk, ChatRequest, Json, JsonObject, TokenUsage
from ailb_server.domain.errors import (
    EmbedderUnavailableError,
    InvalidRequestError,
    UntranslatableError,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.domain.request_fields import asks, refused
from ailb_server.embedding.frames import Embedded
from ailb_server.embedding.local import LocalEmbedder
from ailb_server.embedding.observer import Lane

LOCAL = "local"

_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format"})
# More is a batch job, and waits behind the chats' queries.
_QUERY_TEXTS = 16
_MAX_TEXTS = 2048


class LocalProvider:
    """Fits `EmbeddingProvider`. It has its one model under its full and its short name."""

    name = LOCAL

    def __init__(self, embedder: LocalEmbedder, model: str) -> None:
        self._embedder = embedder
        self.models = tuple(dict.fromkeys((model.rpartition("/")[2], model)))

    def open(self, request: ChatRequest, model: str) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Raises UntranslatableError: it has no chats; another provider's target may."""
        raise UntranslatableError(
            f"The model `{request.model}` has no {request.operation.value}s: it makes embeddings.",
            model=request.model,
            param="model",
        )

    @asynccontextmanager
    async def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AsyncIterator[ProviderAnswer]:
        """See `EmbeddingProvider.open_embedding`. A text beyond the model's length is cut."""
        request.require_translatable()
        texts = _texts(request.fields.get("input"))
        packed = _packed(request.fields.get("encoding_format"))
        lane: Lane = "query" if len(texts) <= _QUERY_TEXTS else "bulk"
        try:
            found = await self._embedder.counted(texts, lane)
        except EmbedderUnavailableError as error:
            raise UpstreamUnavailableError(str(error), provider=self.name) from error
        _check_dimensions(request.fields.get("dimensions"), len(found[0].vector))
        chunk = _answer(found, model, packed=packed)
        yield ProviderAnswer(_once(chunk), _ignored(request))

    async def list_models(self) -> Sequence[str] | None:
        """Its names, whether the model is loaded yet or not."""
        return self.models

    async def close(self) -> None:
        """The embedder is its maker's to close."""


async def _once(chunk: ChatChunk) -> AsyncIterator[ChatChunk]:
    yield chunk


def _texts(given: Json) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(
            "The local model embeds texts, not tokens: `input` must be a string or an array of"
            " strings.",
            param="input",
        )
    if not 1 <= len(texts) <= _MAX_TEXTS:
        raise refused("input", f"must hold 1 to {_MAX_TEXTS} texts")
    return texts


def _packed(given: Json) -> bool:
    if given not in {None, "float", "base64"}:
        raise refused("encoding_format", "must be one of float, base64")
    return bool(given == "base64")


def _check_dimensions(given: Json, dimension: int) -> None:
    if given is not None and given != dimension:
        raise refused("dimensions", f"this model has {dimension}, and no other number")


def _ignored(request: ChatRequest) -> tuple[str, ...]:
    unknown = request.fields.keys() - _KNOWN - OWN_FIELDS
    names = [n for n in unknown if n.isascii() and n.isidentifier() and asks(n, request.fields[n])]
    return tuple(sorted(names)[:32])


def _answer(found: Sequence[Embedded], model: str, *, packed: bool) -> ChatChunk:
    usage = TokenUsage(prompt=sum(embedded.tokens for embedded in found))
    listed: JsonObject = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _rendered(embedded, packed=packed)}
            for index, embedded in enumerate(found)
        ],
        "model": model,
        "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt},
    }
    return ChatChunk((listed,), orjson.dumps(listed), usage)


def _rendered(embedded: Embedded, *, packed: bool) -> list[float] | str:
    if packed:
        return base64.b64encode(embedded.vector.tobytes()).decode()
    numbers: list[float] = embedded.vector.tolist()
    return numbers
