"""Probes of the roles, and of what their messages hold beside contents."""

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.providers.anthropic_wire_models import ModelFacts
from tests.wire.compatibility.probe import Expected, Probe, Refused, Sent, ignored

_HI: JsonObject = {"role": "user", "content": "hi"}
_ON: JsonObject = {"role": "user", "content": "on"}
_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
}
_CUSTOM_CALL = {"id": "call_1", "type": "custom", "custom": {"name": "c", "input": "x"}}
_CALLS: JsonObject = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}}
_TURN = {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}


def said(*messages: JsonObject) -> JsonObject:
    """The chat's messages."""
    return {"messages": list(messages)}


def _role(name: str, value: str, fields: JsonObject, *cells: Expected) -> Probe:
    anthropic, ollama = cells
    return Probe(f"role `{name}`", value, fields, anthropic, ollama)


def _result(content: Json) -> JsonObject:
    return {"role": "tool", "tool_call_id": "call_1", "content": content}


_PARTS = [{"type": "text", "text": "sun"}, {"type": "text", "text": "wind"}]
_SYSTEM_PARTS = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]

ROLES = (
    _role(
        "system",
        "first",
        said({"role": "system", "content": "Be brief."}, _HI),
        Sent({"system": "Be brief.", "messages": [_HI]}),
        Sent(),
    ),
    _role(
        "system",
        "first, in parts",
        said({"role": "system", "content": _SYSTEM_PARTS}, _HI),
        Sent({"system": _SYSTEM_PARTS}),
        Sent({"messages.0.content": "Be brief.\nBe kind."}),
    ),
    _role(
        "system",
        "amid the conversation",
        said(_HI, {"role": "system", "content": "Be brief."}),
        Sent({"system": "Be brief."}),
        Sent(),
    ),
    Probe(
        "role `system`",
        "amid the conversation, of a model of May 2026 or later",
        said(_HI, {"role": "system", "content": "Be brief."}),
        anthropic=Sent({"messages.1": {"role": "system", "content": "Be brief."}}),
        ollama=Sent(),
        facts=ModelFacts(system_amid=True),
    ),
    _role(
        "developer",
        "first",
        said({"role": "developer", "content": "Be brief."}, _HI),
        Sent({"system": "Be brief."}),
        Sent({"messages.0.role": "system"}),
    ),
    _role("user", "text", said(_ON), Sent({"messages": [_ON]}), Sent({"messages": [_ON]})),
    _role(
        "assistant",
        "text",
        said(_HI, {"role": "assistant", "content": "Hello."}, _ON),
        Sent({"messages.1.content": "Hello."}),
        Sent(),
    ),
    _role(
        "assistant",
        "`tool_calls`",
        said(_HI, _CALLS, _result("sun")),
        Sent({"messages.1.content": [_USE]}),
        Sent({"messages.1.tool_calls": [{"id": "call_1", "function": _TURN}]}),
    ),
    _role(
        "assistant",
        "`tool_calls`, custom",
        said(_HI, {**_CALLS, "tool_calls": [_CUSTOM_CALL]}),
        Refused("messages[1].tool_calls[0].type"),
        Refused("messages[1].tool_calls[0].type"),
    ),
    _role(
        "assistant",
        "`refusal`",
        said(_HI, {"role": "assistant", "content": None, "refusal": "No."}, _ON),
        Sent({"messages.1.content": "No."}),
        Sent({"messages.1.content": "No."}),
    ),
    _role(
        "assistant",
        "`refusal` beside a text",
        said(_HI, {"role": "assistant", "content": "Well.", "refusal": "No."}, _ON),
        Sent({"messages.1.content": [{"type": "text", "text": t} for t in ("Well.", "No.")]}),
        Sent({"messages.1.content": "Well.\nNo."}),
    ),
    _role(
        "assistant",
        "`audio`",
        said(_HI, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}),
        Refused("messages[1].audio"),
        Refused("messages[1].audio"),
    ),
    _role(
        "assistant",
        "`function_call`, deprecated",
        said(
            _HI,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "weather", "arguments": "{}"},
            },
        ),
        Refused("messages[1].function_call"),
        Refused("messages[1].function_call"),
    ),
    _role(
        "tool",
        "text",
        said(_HI, _CALLS, _result("sun")),
        Sent({"messages.2.content.0.content": "sun", "messages.2.role": "user"}),
        Sent({"messages.2.tool_name": "weather", "messages.2.content": "sun"}),
    ),
    _role(
        "tool",
        "parts",
        said(_HI, _CALLS, _result(_PARTS)),
        Sent({"messages.2.content.0.content": _PARTS}),
        Sent({"messages.2.content": "sun\nwind"}),
    ),
    _role(
        "function",
        "deprecated",
        said(_HI, {"role": "function", "name": "weather", "content": "sun"}),
        Refused("messages[1].role"),
        Refused("messages[1].role"),
    ),
)

_THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
_REDACTED = {"type": "redacted_thinking", "data": "ZGF0YQ=="}


def _answered(**members: Json) -> JsonObject:
    return said(_HI, {"role": "assistant", "content": "Hello.", **members}, _ON)


THOUGHTS = (
    Probe(
        "`thinking_blocks`",
        "as AILB told them",
        _answered(
            thinking_blocks=[{"index": 0, **_THOUGHT}, {"index": 1, "after": [6, 0], **_REDACTED}]
        ),
        anthropic=Sent({"messages.1.content.0": _THOUGHT, "messages.1.content.2": _REDACTED}),
        ollama=ignored("messages.thinking_blocks"),
        beside=_answered(),
    ),
    Probe(
        "`reasoning_content`",
        "of an answer before",
        _answered(reasoning_content="Hm."),
        anthropic=ignored(
            "messages.reasoning_content", note="without its signature it is not taken back"
        ),
        ollama=Sent({"messages.1.thinking": "Hm."}),
        beside=_answered(),
    ),
    Probe(
        "`reasoning_content`",
        "beside `thinking_blocks`",
        _answered(reasoning_content="Hm.", thinking_blocks=[_THOUGHT]),
        anthropic=Sent({"messages.1.content.0": _THOUGHT}),
        ollama=Sent({"messages.1.thinking": "Hm."}, ("messages.thinking_blocks",)),
        beside=_answered(),
    ),
)


def _named(role: str, *before: JsonObject) -> Probe:
    message = {"role": role, "content": "x"}
    after = () if role == "user" else (_ON,)
    return Probe(
        "`name` of a message",
        f"of role `{role}`",
        said(*before, {**message, "name": "ann"}, *after),
        anthropic=ignored("messages.name"),
        ollama=ignored("messages.name"),
        beside=said(*before, message, *after),
    )


NAMES = (
    _named("developer"),
    _named("system"),
    _named("user"),
    _named("assistant", _HI),
    Probe(
        "`cache_control` of a message",
        "Anthropic's, but of parts",
        said({**_HI, "cache_control": {"type": "ephemeral"}}),
        anthropic=ignored("messages.cache_control"),
        ollama=ignored("messages.cache_control"),
    ),
)
