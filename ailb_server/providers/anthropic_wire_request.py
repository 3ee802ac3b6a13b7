"""A chat request in OpenAI's shape as a request to Anthropic's Messages API (2026-10-21). Pure.

Source: anthropic 2.11 `types/message_create_params.py`, `types/output_config_param.py`;
platform.claude.com/docs/en/api/migration-2026-10-21 (sampling parameters answer 400).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.errors import UntranslatableError
from ailb_server.domain.json_text import exact_dumps
from ailb_server.domain.request_fields import asks, object_at, text_at, unable, unheeded
from ailb_server.providers.anthropic_wire_messages import conversation
from ailb_server.providers.anthropic_wire_models import ModelFacts
from ailb_server.providers.anthropic_wire_reasoning import reasoning
from ailb_server.providers.anthropic_wire_schema import enforceable
from ailb_server.providers.anthropic_wire_tools import is_forced, tools_and_choice

# The API insists on `max_tokens`; this is for a model whose own limit no listing has told.
DEFAULT_MAX_TOKENS = 8192
JSON_INSTRUCTION = "Answer with one valid JSON object and nothing else: no prose, no code fence."

# What the answer would have to contain, or what would have to be run: never left out silently.
_NOT_TAKEN = frozenset(
    {"audio", "function_call", "functions", "logprobs", "moderation", "web_search_options"}
)
_TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
        "user",
    }
)
# The provider's own parameters that a caller may know of, sent as they are.
_PASSED = frozenset({"cache_control", "inference_geo", "speed", "thinking"})
_TIERS = {
    "auto": "auto",
    "priority": "auto",
    "default": "standard_only",
    "standard_only": "standard_only",
}


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """The request's body, and the names of the caller's parameters that are not in it."""

    body: bytes
    ignored: tuple[str, ...]


def messages_request(request: ChatRequest, model: str, facts: ModelFacts) -> MessagesRequest:
    """Raises InvalidRequestError, an UntranslatableError if only this provider cannot carry it, its
    fact `param` naming what it is."""
    try:
        fields, ignored = _fields(request, model, facts)
        return MessagesRequest(exact_dumps(fields), tuple(sorted(ignored)))
    except (RecursionError, orjson.JSONEncodeError):
        # Deeper than a schema or a call's arguments are in earnest, and than orjson writes.
        raise UntranslatableError("The request is nested too deeply.") from None


def _fields(request: ChatRequest, model: str, facts: ModelFacts) -> tuple[JsonObject, set[str]]:
    asked = request.fields
    _check(asked)
    talk = conversation(asked["messages"], system_amid=facts.system_amid)
    ignored = talk.ignored | _unknown(asked, request.own_fields)
    tools, choice = tools_and_choice(
        asked.get("tools"),
        asked.get("tool_choice"),
        parallel=asked.get("parallel_tool_calls") is not False,
        ignored=ignored,
    )
    max_tokens = _max_tokens(asked, facts)
    fields: JsonObject = {"model": model, "max_tokens": max_tokens}
    system = talk.system + _json_instruction(asked)
    optional: JsonObject = {
        "system": _bare(system),
        "messages": talk.messages,
        "tools": tools,
        "tool_choice": choice,
        "stop_sequences": _stop(asked.get("stop")),
        "stream": request.stream,
        "metadata": _metadata(asked, ignored),
        "service_tier": _tier(asked, ignored),
        **{name: asked[name] for name in sorted(_PASSED.intersection(asked))},
    }
    thought = reasoning(
        asked, facts, max_tokens=max_tokens, may_think=not is_forced(choice), ignored=ignored
    )
    optional.update(thought.thinking)
    optional["output_config"] = {**thought.output_config, **_format(asked, facts)}
    fields.update({name: value for name, value in optional.items() if value})
    return fields, ignored


def _check(asked: Mapping[str, Json]) -> None:
    for name in sorted(_NOT_TAKEN.intersection(asked)):
        if asked[name] is not None and asked[name] is not False:
            raise unable(name, "is not supported by this provider")
    if asked.get("n") not in (None, 1):
        raise unable("n", "must be 1 for this provider")
    if asked.get("modalities") not in (None, ["text"]):
        raise unable("modalities", 'must be `["text"]` for this provider')


def _unknown(asked: Mapping[str, Json], own: frozenset[str]) -> set[str]:
    """What has no counterpart, unless it asks for nothing."""
    return {
        name
        for name, value in asked.items()
        if name not in _TRANSLATED | _PASSED | _NOT_TAKEN | own and asks(name, value)
    } | _unheeded_within(asked)


def _unheeded_within(asked: Mapping[str, Json]) -> set[str]:
    """What of the parameters that are carried is not."""
    found = unheeded(asked.get("stream_options") or {}, {"include_usage"}, "stream_options")
    wanted = asked.get("response_format")
    if isinstance(wanted, dict):
        found |= unheeded(wanted, {"type", "json_schema"}, "response_format")
        named = wanted.get("json_schema")
        if isinstance(named, dict):
            # The name is a label, and schemas are always enforced.
            known = {"name", "schema", "strict"}
            found |= unheeded(named, known, "response_format.json_schema")
    if asked.get("max_completion_tokens") is not None and asked.get("max_tokens") is not None:
        found.add("max_tokens")
    return found


def _max_tokens(asked: Mapping[str, Json], facts: ModelFacts) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = asked.get(name)
        if isinstance(value, int):
            return value
    return facts.max_tokens or DEFAULT_MAX_TOKENS


def _bare(system: list[JsonObject]) -> Json:
    """One plain text as a string, else the blocks."""
    if len(system) == 1 and system[0].keys() == {"type", "text"}:
        return system[0]["text"]
    return system


def _json_instruction(asked: Mapping[str, Json]) -> list[JsonObject]:
    # The API has no JSON mode without a schema. Last, so that the caller's prefix stays cached.
    if _format_type(asked) != "json_object":
        return []
    return [{"type": "text", "text": JSON_INSTRUCTION}]


def _format(asked: Mapping[str, Json], facts: ModelFacts) -> JsonObject:
    kind = _format_type(asked)
    if kind in ("text", "json_object"):
        return {}
    if kind != "json_schema":
        raise unable("response_format.type", "is not a format that this provider knows")
    if not facts.structured_outputs:
        raise unable("response_format", "with a schema is not supported by this model")
    path = "response_format.json_schema"
    schema = object_at(asked["response_format"].get("json_schema"), path).get("schema")
    return {
        "format": {
            "type": "json_schema",
            "schema": enforceable(object_at(schema, f"{path}.schema")),
        }
    }


def _format_type(asked: Mapping[str, Json]) -> str:
    wanted = asked.get("response_format")
    if wanted is None:
        return "text"
    return text_at(object_at(wanted, "response_format").get("type"), "response_format.type")


def _stop(stop: Json) -> list[str]:
    if stop is None:
        return []
    texts = [stop] if isinstance(stop, str) else stop
    return [text_at(text, "stop") for text in texts]


def _metadata(asked: Mapping[str, Json], ignored: set[str]) -> JsonObject:
    names = [name for name in ("user", "safety_identifier") if asked.get(name) is not None]
    ignored.update(names[1:])
    return {"user_id": text_at(asked[names[0]], names[0])} if names else {}


def _tier(asked: Mapping[str, Json], ignored: set[str]) -> str | None:
    wanted = asked.get("service_tier")
    tier = _TIERS.get(wanted) if isinstance(wanted, str) else None
    if tier is None and wanted is not None:
        ignored.add("service_tier")
    return tier
