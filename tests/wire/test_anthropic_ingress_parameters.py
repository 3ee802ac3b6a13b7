"""Each parameter that the official anthropic package knows is read, named as ignored, or refused,
where a request is translated."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from typing_extensions import get_type_hints

from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.openai_wire import sent_body

_HELLO = {"role": "user", "content": "hi"}
_TOOL = {"name": "f", "input_schema": {"type": "object"}}
_PLAIN: Mapping[str, Any] = {"model": "m", "max_tokens": 9, "messages": [_HELLO], "tools": [_TOOL]}
_READ: Mapping[str, Any] = {
    "model": "other",
    "max_tokens": 10,
    "messages": [_HELLO, {"role": "assistant", "content": "yes"}, _HELLO],
    "metadata": {"user_id": "ann"},
    "output_config": {"effort": "low"},
    "service_tier": "standard_only",
    "stop_sequences": ["END"],
    "stream": True,
    "system": "Be brief.",
    "thinking": {"type": "enabled", "budget_tokens": 5000},
    "tool_choice": {"type": "any"},
    "tools": [{**_TOOL, "name": "g"}],
    "temperature": 0.5,
    "top_p": 0.5,
}
_IGNORED: Mapping[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "diagnostics": {"previous_message_id": "msg_1"},
    "inference_geo": "eu",
    "speed": "fast",
    "top_k": 5,
    "user_profile_id": "u",
    "workspace_id": "w",
    "x_unknown": 1,
}
_REFUSED: Mapping[str, Any] = {"container": "c"}


def _translated(**fields: Any) -> tuple[bytes, set[str]]:
    asked = parse_messages_request(orjson.dumps({**_PLAIN, **fields}), {})
    asked.chat.require_translatable()
    body, unsent = sent_body(asked.chat, asked.chat.model)
    return body, {*asked.ignored, *unsent}


@pytest.mark.parametrize("name", _READ)
def test_it_is_read(name: str) -> None:
    body, ignored = _translated(**{name: _READ[name]})
    assert body != _translated()[0]
    assert ignored == set()


@pytest.mark.parametrize("name", _IGNORED)
def test_it_is_named_as_ignored(name: str) -> None:
    assert _translated(**{name: _IGNORED[name]}) == (_translated()[0], {name})


@pytest.mark.parametrize("name", _REFUSED)
def test_it_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _translated(**{name: _REFUSED[name]})
    assert refused.value.facts["param"] == name


def test_every_parameter_is_one_of_these() -> None:
    kinds = (MessageCreateParamsNonStreaming, MessageCreateParamsStreaming)
    known = {name for kind in kinds for name in get_type_hints(kind)}
    assert known <= {*_READ, *_IGNORED, *_REFUSED}
