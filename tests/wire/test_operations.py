"""Embeddings and OpenAI's older completions, case by case.

A folder is as one of `tests/wire/openai` or `tests/wire/ollama`: without `upstream_request.json` or
`answer.*` the very bytes go through.
"""

import base64
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types import Completion, CreateEmbeddingResponse

from ailb_server.api.completion_wire import parse_completion_request
from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.providers import ollama_embedding_wire, openai_wire
from tests.wire.openai_cases import Case, told

_WIRE = Path(__file__).parent


def _cases(kind: str) -> pytest.MarkDecorator:
    cases = [Case(folder) for folder in sorted((_WIRE / kind).iterdir())]
    assert len(cases) > 1
    return pytest.mark.parametrize("case", cases, ids=[case.folder.name for case in cases])


def _vectors(wire: bytes) -> CreateEmbeddingResponse:
    """The answer as the official client has it, which packs and unpacks vectors itself."""
    answer: Any = orjson.loads(wire)
    for item in answer["data"]:
        if isinstance(item["embedding"], str):
            packed = base64.b64decode(item["embedding"], validate=True)
            item["embedding"] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    return CreateEmbeddingResponse.model_validate_json(orjson.dumps(answer), strict=True)


@_cases("openai_embeddings")
def test_openais_embeddings(case: Case) -> None:
    request = parse_embedding_request(case.text("request.json"))
    sent = case.text("upstream_request.json", "request.json")
    assert openai_wire.sent_body(request, "embed-x") == (sent, ())
    chunk = openai_wire.whole_answer(case.text("upstream_response.json"), request)
    assert chunk.wire == case.text("upstream_response.json")
    answer = _vectors(chunk.wire)
    assert {tuple(item.embedding) for item in answer.data} == {(0.5, -1.0, 0.25)}
    assert chunk.usage is not None
    assert chunk.usage.prompt == answer.usage.prompt_tokens == 3


@_cases("ollama_embeddings")
def test_ollamas_embeddings(case: Case) -> None:
    request = parse_embedding_request(case.text("request.json"))
    sent = ollama_embedding_wire.embed_request(request, "embed-x")
    assert orjson.loads(sent.body) == orjson.loads(case.text("upstream_request.json"))
    ignored = orjson.loads(case.text("ignored.json")) if case.has("ignored.json") else []
    assert list(sent.ignored) == ignored
    chunk = ollama_embedding_wire.embeddings(case.text("upstream_response.json"), sent)
    assert orjson.loads(chunk.wire) == orjson.loads(case.text("answer.json"))
    answer = _vectors(chunk.wire)
    assert {tuple(item.embedding) for item in answer.data} == {(0.5, -1.0, 0.25)}


@_cases("openai_completions")
def test_openais_completions(case: Case) -> None:
    request = parse_completion_request(case.text("request.json"))
    sent = case.text("upstream_request.json", "request.json")
    assert openai_wire.sent_body(request, "davinci-x") == (sent, ())
    if not request.stream:
        chunk = openai_wire.whole_answer(case.text("upstream_response.json"), request)
        assert chunk.wire == case.text("upstream_response.json")
        Completion.model_validate_json(chunk.wire, strict=True)
        return
    answer = told([case.text("upstream_response.sse")], include_usage=request.include_usage)
    assert answer.wire == case.told()
    assert [usage.completion for usage in answer.usages] == [7]
    for event in answer.wire.split(b"\n\n")[:-2]:
        text = event.removeprefix(b"data: ")
        # The type has no place for a chunk whose choice is not finished.
        Completion.model_validate_json(
            text.replace(b'"finish_reason":null', b'"finish_reason":"stop"'), strict=True
        )
