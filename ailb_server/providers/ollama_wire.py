"""Ollama's errors and model listing, in the gateway's words. Pure.

Requests are in `ollama_request_wire`, answers in `ollama_answer_wire`.
"""

from http import HTTPStatus

import orjson

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.providers.openai_wire import MalformedAnswerError

MAX_MODELS = 10_000


def error_body(status: int, body: bytes) -> bytes:
    """Ollama's `{"error": "text"}` as OpenAI writes errors; a body of another shape as it is."""
    try:
        message: Json = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return body
    if not isinstance(message, str):
        return body
    error: JsonObject = {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    if status == HTTPStatus.NOT_FOUND:
        error |= {"param": "model", "code": "model_not_found"}
    return orjson.dumps({"error": error})


def model_names(body: bytes) -> list[str]:
    """The names in an answer of `/api/tags`, at most MAX_MODELS, in its order."""
    try:
        models: Json = orjson.loads(body)["models"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise MalformedAnswerError("the listing has no models") from error
    if not isinstance(models, list | None):
        raise MalformedAnswerError("the listing's models are no list")
    entries = [entry for entry in models or [] if isinstance(entry, dict)][:MAX_MODELS]
    names = [entry.get("model") or entry.get("name") for entry in entries]
    return [name for name in names if name and isinstance(name, str)]
