"""What a Messages request must be, and what only Anthropic's providers can take of it."""

from typing import Any

import orjson
import pytest

from ailb_server.api.anthropic_wire_request import MAX_HEADER, parse_messages_request
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import InvalidRequestError

_HELLO: Any = [{"role": "user", "content": "hi"}]


def _parsed(**fields: Any) -> ChatRequest:
    asked = {"model": "m", "max_tokens": 9, "messages": _HELLO, **fields}
    return parse_messages_request(orjson.dumps(asked), {}).chat


def _said(*blocks: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(blocks)}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"{}", "model"),
        (b'{"model":1}', "model"),
        (b'{"model":"m","stream":1}', "stream"),
        (b'{"model":"m","session_id":1}', "session_id"),
    ],
)
def test_what_no_provider_can_do_without(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_messages_request(body, {})
    assert refused.value.facts.get("param") == param


_RESULT = {"type": "tool_result", "tool_use_id": "t"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": _said({"type": "new"})}, "messages[0].content[0].type"),
        ({"messages": _said({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": _said({"type": "image"})}, "messages[0].content[0].source"),
        (
            {"messages": _said({"type": "image", "source": {"type": "file"}})},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": _said({"type": "document", "source": {"type": "url"}})},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": _said({**_RESULT, "content": [{"type": "tool_reference"}]})},
            "messages[0].content[0].content[0].type",
        ),
        (
            {"messages": _said({"type": "server_tool_use"}, role="assistant")},
            "messages[0].content[0].type",
        ),
        (
            {"messages": _said({"type": "tool_use", "id": "t", "name": "a"}, role="assistant")},
            "messages[0].content[0].input",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        (
            {"tools": [{"name": "a", "input_schema": {}}], "tool_choice": {"type": "x"}},
            "tool_choice.type",
        ),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(fields: Any, param: str) -> None:
    request = _parsed(**fields)
    with pytest.raises(InvalidRequestError) as refused:
        request.require_translatable()
    assert refused.value.facts["param"] == param
    assert request.fields["messages"] == []


def test_what_is_nested_too_deeply_is_refused() -> None:
    schema = b'{"a":' * 600 + b"1" + b"}" * 600
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":'
    body += b'"tool_use","id":"t","name":"a","input":' + schema + b"}]}]}"
    request = parse_messages_request(body, {}).chat
    with pytest.raises(InvalidRequestError, match="deeply"):
        request.require_translatable()


def test_only_anthropics_headers_are_kept() -> None:
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "x" * (MAX_HEADER + 1),
        "authorization": "Bearer x",
        "x-api-key": "x",
    }
    asked = orjson.dumps({"model": "m", "max_tokens": 1, "messages": _HELLO})
    kept = parse_messages_request(asked, headers).chat.headers
    assert kept == {"anthropic-version": "2023-06-01"}
