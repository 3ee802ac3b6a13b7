"""What each kind of provider makes of each parameter of an embedding: probes, and the judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from openai.types.embedding_create_params import EmbeddingCreateParams
from typing_extensions import get_type_hints

from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.domain.chat import ChatRequest, JsonObject
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.ollama_embedding_wire import embed_request
from ailb_server.providers.openai_wire import upstream_body
from tests.wire.compatibility.outcome import Outcome

PLAIN: Mapping[str, Any] = MappingProxyType({"model": "m", "input": ["hi"]})


@dataclass(frozen=True)
class EmbeddingProbe:
    """`fields` are added to a plain request. `ollama` is the outcome there, with what to say of it:
    servers of OpenAI's format get everything as it is."""

    parameter: str
    value: str
    fields: JsonObject
    ollama: Outcome
    note: str = ""


EMBEDDINGS = (
    EmbeddingProbe("model", "a name", {"model": "m"}, Outcome.PASSED),
    EmbeddingProbe("input", "texts", {"input": ["a", "b"]}, Outcome.PASSED),
    EmbeddingProbe("input", "a text", {"input": "a"}, Outcome.TRANSLATED, "an array of one"),
    EmbeddingProbe("input", "tokens", {"input": [1, 2]}, Outcome.REJECTED, "names `input`"),
    EmbeddingProbe("input", "lists of tokens", {"input": [[1]]}, Outcome.REJECTED, "names `input`"),
    EmbeddingProbe("dimensions", "an integer", {"dimensions": 64}, Outcome.PASSED),
    EmbeddingProbe(
        "encoding_format",
        "`float`",
        {"encoding_format": "float"},
        Outcome.NOTHING_TO_DO,
        "it answers numbers",
    ),
    EmbeddingProbe(
        "encoding_format",
        "`base64`",
        {"encoding_format": "base64"},
        Outcome.NOTHING_TO_DO,
        "AILB packs what it answers",
    ),
    EmbeddingProbe(
        "encoding_format",
        "of another word",
        {"encoding_format": "int8"},
        Outcome.REJECTED,
        "names `encoding_format`",
    ),
    EmbeddingProbe("user", "a string", {"user": "ann"}, Outcome.IGNORED),
    EmbeddingProbe("truncate", "Ollama's own", {"truncate": True}, Outcome.PASSED),
    EmbeddingProbe("keep_alive", "Ollama's own", {"keep_alive": "5m"}, Outcome.PASSED),
    EmbeddingProbe("x_unknown", "any other parameter", {"x_unknown": 1}, Outcome.IGNORED),
    EmbeddingProbe("session_id", "AILB's own", {"session_id": "s"}, Outcome.OWN),
)


def parameters() -> set[str]:
    """The names that the installed openai package knows."""
    return set(get_type_hints(EmbeddingCreateParams))


def judge_openai(probe: EmbeddingProbe) -> Outcome:
    """By machine, from what is sent."""
    request = _asked(probe)
    sent = upstream_body(request, "m")
    if request.own_fields:
        return Outcome.OWN if orjson.loads(sent) == dict(PLAIN) else Outcome.DROPPED
    return Outcome.PASSED if sent == request.body else Outcome.TRANSLATED


def judge_ollama(probe: EmbeddingProbe) -> Outcome:
    """By machine, from what the parameter changes of what is sent, told or answered."""
    request = _asked(probe)
    plain = embed_request(parse_embedding_request(orjson.dumps(dict(PLAIN))), "m")
    try:
        asked = embed_request(request, "m")
    except InvalidRequestError as error:
        assert error.facts["param"] in probe.fields
        return Outcome.REJECTED
    sent = orjson.loads(asked.body)
    (name,) = probe.fields
    if request.own_fields:
        return Outcome.OWN if asked == plain else Outcome.DROPPED
    if asked.ignored:
        return Outcome.IGNORED if asked.ignored == (name,) else Outcome.DROPPED
    if name in sent:
        return Outcome.PASSED if sent[name] == probe.fields[name] else Outcome.TRANSLATED
    # It is of the answer, or asks for nothing.
    packs = asked.packed is (probe.fields[name] == "base64")
    return Outcome.NOTHING_TO_DO if packs else Outcome.DROPPED


def rows() -> list[tuple[str, ...]]:
    """The document's table."""
    return [_row(probe) for probe in EMBEDDINGS]


def _row(probe: EmbeddingProbe) -> tuple[str, ...]:
    told = judge_ollama(probe).value + (f": {probe.note}" if probe.note else "")
    return f"`{probe.parameter}`", probe.value, judge_openai(probe).value, told


def _asked(probe: EmbeddingProbe) -> ChatRequest:
    return parse_embedding_request(orjson.dumps({**PLAIN, **probe.fields}))
