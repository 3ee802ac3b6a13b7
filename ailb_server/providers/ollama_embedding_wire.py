"""OpenAI's embeddings and Ollama's `/api/embed`, each from the other. Pure.

Source: `EmbedRequest` and `EmbedResponse` in ollama's api/types.go.
"""

import base64
import struct
from dataclasses import dataclass

import orjson

from ailb_server.domain.chat import OWN_FIELDS, ChatChunk, ChatRequest, Json, JsonObject, TokenUsage
from ailb_server.domain.errors import UntranslatableError
from ailb_server.domain.request_fields import asks, refused, unable
from ailb_server.providers.ollama_request_wire import kept_alive
from ailb_server.providers.openai_usage import count_of
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError

_TRANSLATED = frozenset(
    {"model", "input", "dimensions", "encoding_format", "truncate", "keep_alive"}
)
_ENCODINGS = ("float", "base64")


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What is sent, and what its answer must be: the model's name, one embedding for each of the
    `inputs`, as base64 of little-endian float32 if `packed`, else as a list of numbers."""

    body: bytes
    ignored: tuple[str, ...]
    model: str
    inputs: int
    packed: bool


def embed_request(request: ChatRequest, model: str) -> EmbedRequest:
    """Raises InvalidRequestError whose `param` names what Ollama cannot do, or what is malformed.

    `truncate` is false unless asked for: an input beyond the model's context is then an error, as
    it is at OpenAI, and not the embedding of its beginning.
    """
    fields = {name: value for name, value in request.fields.items() if value is not None}
    texts = _texts(fields.get("input"))
    encoding = fields.get("encoding_format", "float")
    if encoding not in _ENCODINGS:
        raise unable("encoding_format", f"must be one of {', '.join(_ENCODINGS)} for this provider")
    body: JsonObject = {"model": model, "input": texts, "truncate": _truncate(fields)}
    if "dimensions" in fields:
        body["dimensions"] = fields["dimensions"]
    body.update(kept_alive(fields))
    return EmbedRequest(
        orjson.dumps(body), _ignored(fields), model, len(texts), packed=encoding == "base64"
    )


def embeddings(body: bytes, asked: EmbedRequest) -> ChatChunk:
    """OpenAI's list of embeddings. Raises MalformedAnswerError or ErrorAnswerError."""
    answer = _object(body)
    vectors = answer.get("embeddings")
    if not isinstance(vectors, list) or len(vectors) != asked.inputs:
        raise MalformedAnswerError("not one embedding for each input")
    usage = TokenUsage(prompt=count_of(answer, "prompt_eval_count"))
    told = answer.get("model")
    listed: JsonObject = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _embedding(vector, packed=asked.packed),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": told if told and isinstance(told, str) else asked.model,
        "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt},
    }
    return ChatChunk((listed,), orjson.dumps(listed), usage)


def _texts(given: Json) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UntranslatableError(
            "The provider embeds texts, not tokens: `input` must be a string or an array of"
            " strings.",
            param="input",
        )
    return texts


def _truncate(fields: JsonObject) -> bool:
    truncate = fields.get("truncate", False)
    if not isinstance(truncate, bool):
        raise refused("truncate", "must be a boolean")
    return truncate


def _ignored(fields: JsonObject) -> tuple[str, ...]:
    unknown = fields.keys() - _TRANSLATED - OWN_FIELDS
    return tuple(sorted(name for name in unknown if asks(name, fields[name])))


def _object(body: bytes) -> JsonObject:
    try:
        answer: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise MalformedAnswerError("the answer is not a JSON object")
    if answer.get("error"):
        # Ollama's errors are but a text, which may quote the prompt.
        raise ErrorAnswerError("unknown")
    return answer


def _embedding(vector: Json, *, packed: bool) -> list[float] | str:
    # By exact type, because a bool is an int to Python; as a set, because numbers are many.
    if not isinstance(vector, list) or not vector or not set(map(type, vector)) <= {int, float}:
        raise MalformedAnswerError("an embedding is not a list of numbers")
    if not packed:
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as error:
        raise MalformedAnswerError("an embedding's number is not a float32") from error
