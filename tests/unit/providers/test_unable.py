"""What only this provider cannot do is another's to try; what is malformed is wrong everywhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError, UntranslatableError
from ailb_server.providers.anthropic_wire_models import ModelFacts
from ailb_server.providers.anthropic_wire_request import messages_request
from ailb_server.providers.ollama_embedding_wire import embed_request
from ailb_server.providers.ollama_request_wire import upstream_request
from ailb_server.providers.openai_wire import translated_body
from tests.unit.doubles import chat

Translate: TypeAlias = Callable[[ChatRequest], object]


def _anthropic(request: ChatRequest) -> object:
    return messages_request(request, "m", ModelFacts(structured_outputs=False))


def _ollama(request: ChatRequest) -> object:
    return upstream_request(request, "m", 4096)


_BOTH = (_anthropic, _ollama)
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def _said(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, message]}


def _part(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def _call(**function: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", **function}}
    return _said(role="assistant", content=None, tool_calls=[call])


def _deep() -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"items": schema}
    function = {"name": "f", "parameters": schema}
    return {"tools": [{"type": "function", "function": function}]}


def _asked(fields: dict[str, Any]) -> ChatRequest:
    # Deeper than what writes the double's body.
    return replace(chat(), fields={**chat().fields, **fields})


_CUSTOM = {"type": "custom", "custom": {"name": "x"}}
_AUDIO = {"data": "x", "format": "wav"}
# By a translator, or both, and a request's fields.
_UNABLE: list[tuple[tuple[Translate, ...], dict[str, Any]]] = [
    (_BOTH, {"n": 2}),
    (_BOTH, {"modalities": ["text", "audio"]}),
    (_BOTH, {"audio": {"voice": "alloy", "format": "wav"}}),
    (_BOTH, {"web_search_options": {"search_context_size": "low"}}),
    (_BOTH, {"functions": [{"name": "f"}]}),
    (_BOTH, {"tools": [_CUSTOM]}),
    (_BOTH, {"reasoning_effort": "of-the-future"}),
    (_BOTH, {"response_format": {"type": "grammar"}}),
    (_BOTH, _part(type="input_audio", input_audio=_AUDIO)),
    (_BOTH, _part(type="video_url", video_url={"url": "http://x/y"})),
    (_BOTH, _said(role="function", name="f", content="x")),
    (_BOTH, _said(role="assistant", content=None, audio={"id": "a"})),
    (_BOTH, _said(role="assistant", content=None, tool_calls=[{"id": "c", **_CUSTOM}])),
    (_BOTH, _call(arguments="{oops")),
    (_BOTH, _call(arguments="[1]")),
    (_BOTH, _deep()),
    ((_anthropic,), {"logprobs": True}),
    ((_anthropic,), {"response_format": _SCHEMA}),
    ((_anthropic,), {"tool_choice": {"type": "custom", "custom": {"name": "x"}}}),
    ((_anthropic,), _part(type="image_url", image_url={"url": "data:image/bmp;base64,AA=="})),
    ((_anthropic,), _part(type="image_url", image_url={"url": "gs://bucket/image.png"})),
    ((_anthropic,), _part(type="file", file={"file_data": "data:text/csv;base64,AA=="})),
    ((_anthropic,), {"messages": [{"role": "system", "content": "x"}]}),
    ((_anthropic,), {"messages": [{"role": "user", "content": ""}]}),
    ((_ollama,), {"tool_choice": "required", "tools": []}),
    ((_ollama,), _part(type="image_url", image_url={"url": "https://x/y.png"})),
    ((_ollama,), _part(type="file", file={"file_data": "data:application/pdf;base64,AA=="})),
]
_MALFORMED: list[dict[str, Any]] = [
    {"tools": [{"function": {"name": "f"}}]},
    {"tools": [{"type": "function", "function": {}}]},
    {"tools": [{"type": "function"}]},
    {"tool_choice": 3, "tools": []},
    {"stop": [1]},
    {"reasoning_effort": 3},
    {"response_format": {}},
    _part(text="x"),
    _part(type="text"),
    _part(type="image_url", image_url={}),
    _part(type="image_url", image_url={"url": "data:image/png,AA=="}),
    _said(role="assistant", content=None, tool_calls=["x"]),
    _said(role="assistant", content=None, tool_calls=[{"id": "c", "type": "function"}]),
    _said(role="tool", content="x"),
]


@pytest.mark.parametrize(
    ("translate", "fields"), [(t, fields) for ts, fields in _UNABLE for t in ts]
)
def test_what_this_provider_cannot_do_is_for_another(
    translate: Translate, fields: dict[str, Any]
) -> None:
    with pytest.raises(UntranslatableError):
        translate(_asked(fields))


@pytest.mark.parametrize("fields", _MALFORMED)
@pytest.mark.parametrize("translate", _BOTH)
def test_what_is_malformed_is_for_nobody(translate: Translate, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translate(_asked(fields))
    assert not isinstance(refused.value, UntranslatableError)
    assert refused.value.facts["param"]


@pytest.mark.parametrize(
    ("fields", "able_elsewhere"),
    [
        ({"input": [1, 2]}, True),
        ({"input": "x", "encoding_format": "int8"}, True),
        ({"input": "x", "truncate": "yes"}, False),
        ({"input": "x", "keep_alive": True}, False),
    ],
)
def test_embeddings(fields: dict[str, Any], *, able_elsewhere: bool) -> None:
    request = replace(_asked(fields), operation=Operation.EMBEDDING)
    with pytest.raises(InvalidRequestError) as refused:
        embed_request(request, "m")
    assert isinstance(refused.value, UntranslatableError) is able_elsewhere


def test_a_request_of_anthropics_format_may_be_deeper_than_openais_is_written() -> None:
    request = replace(_asked(_deep()), wire="anthropic")
    with pytest.raises(UntranslatableError):
        translated_body(request, "m")
