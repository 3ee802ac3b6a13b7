"""Anthropic's Messages request, from bytes to a domain value. Pure.

Source: anthropic 2.11 `types/message_create_params.py`, `types/tool_param.py`,
`types/output_config_param.py`, `types/message_count_tokens_params.py`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from ailb_server.api.anthropic_wire_content import asks
from ailb_server.api.anthropic_wire_messages import openai_messages
from ailb_server.api.anthropic_wire_tools import openai_tools
from ailb_server.api.openai_wire import CHAT_TYPES
from ailb_server.api.request_fields import check_types, model_of, object_of
from ailb_server.domain.chat import OWN_FIELDS, ChatRequest, Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.json_text import exact
from ailb_server.domain.request_fields import object_at, refused, text_at

# What a caller may say to an Anthropic provider beside the body.
PASSED_HEADERS = frozenset({"anthropic-beta", "anthropic-version"})
MAX_HEADER = 2048
# OpenAI refuses longer ones: platform.openai.com/docs/api-reference/chat (`safety_identifier`).
MAX_USER = 64

# What the answer would have to contain, or what would have to be run: never left out silently.
_ONLY_ANTHROPICS = ("container", "mcp_servers")
_TRANSLATED = frozenset(
    {
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        *_ONLY_ANTHROPICS,
    }
)
_SAME = ("temperature", "top_p", "top_k")
# A thinking budget as an effort: the least budget of each, strongest first.
_EFFORTS = ((16_384, "high"), (4096, "medium"), (0, "low"))


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A request, and the parameters that a translation of it leaves out."""

    chat: ChatRequest
    ignored: tuple[str, ...] = ()


def parse_messages_request(body: bytes, headers: Mapping[str, str]) -> MessagesRequest:
    """Raises InvalidRequestError only for what no provider can do without.

    All else that is wrong is Anthropic's to judge, or `ChatRequest.untranslatable`.
    """
    asked = exact(body, object_of(body))
    model = model_of(asked)
    own = OWN_FIELDS.intersection(asked)
    check_types({name: asked[name] for name in own | {"stream"} if name in asked}, CHAT_TYPES)
    stream = bool(asked.get("stream"))
    base: JsonObject = {"model": model, "stream": stream, **{name: asked[name] for name in own}}
    if stream:
        base["stream_options"] = {"include_usage": True}
    ignored: set[str] = set()
    fields, untranslatable = _guarded(asked, ignored)
    chat = ChatRequest(
        model=model,
        stream=stream,
        include_usage=stream,
        body=body,
        fields={**base, **fields},
        own_fields=own,
        wire="anthropic",
        headers=passed_headers(headers),
        untranslatable=untranslatable,
    )
    return MessagesRequest(chat, tuple(sorted(ignored)))


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that are Anthropic's to read, if they are of a sane size."""
    return {
        name: value
        for name, value in headers.items()
        if name in PASSED_HEADERS and 0 < len(value) <= MAX_HEADER
    }


def _guarded(asked: JsonObject, ignored: set[str]) -> tuple[JsonObject, InvalidRequestError | None]:
    try:
        fields = _fields(asked, ignored)
        check_types(fields, CHAT_TYPES)
    except InvalidRequestError as error:
        return {"messages": []}, error
    except (RecursionError, orjson.JSONEncodeError):
        return {"messages": []}, InvalidRequestError("The request is nested too deeply.")
    return fields, None


def _fields(asked: JsonObject, ignored: set[str]) -> JsonObject:
    for name in _ONLY_ANTHROPICS:
        if asks(asked.get(name)):
            raise refused(name, "is only for Anthropic providers")
    ignored.update(
        name
        for name, value in asked.items()
        if name not in _TRANSLATED | OWN_FIELDS and asks(value)
    )
    fields: JsonObject = {
        "messages": openai_messages(asked.get("system"), asked.get("messages"), ignored),
        "max_completion_tokens": _max_tokens(asked),
        **{name: asked[name] for name in _SAME if asked.get(name) is not None},
        **openai_tools(asked.get("tools"), asked.get("tool_choice"), ignored),
    }
    for name, read in _READ.items():
        value = read(asked, ignored)
        if value is not None:
            fields[name] = value
    return fields


def _max_tokens(asked: JsonObject) -> int:
    value = asked.get("max_tokens")
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused("max_tokens", "must be an integer and is required")
    return value


def _stop(asked: JsonObject, _: set[str]) -> Json:
    stops = asked.get("stop_sequences") or None
    if stops is not None and not isinstance(stops, list):
        raise refused("stop_sequences", "must be an array")
    return [text_at(stop, "stop_sequences") for stop in stops] if stops else None


def _user(asked: JsonObject, ignored: set[str]) -> str | None:
    metadata = object_at(asked.get("metadata") or {}, "metadata")
    ignored.update(f"metadata.{name}" for name in metadata if name != "user_id")
    user = metadata.get("user_id")
    if user is None:
        return None
    user = text_at(user, "metadata.user_id")
    # Coding agents name the session too: hashed, it still tells one user from another.
    return user if len(user) <= MAX_USER else hashlib.sha256(user.encode()).hexdigest()


def _tier(asked: JsonObject, _: set[str]) -> str | None:
    return "default" if asked.get("service_tier") == "standard_only" else None


def _effort(asked: JsonObject, ignored: set[str]) -> str | None:
    """`output_config.effort`, else what the thinking budget comes to."""
    config = object_at(asked.get("output_config") or {}, "output_config")
    ignored.update(f"output_config.{name}" for name in config.keys() - {"effort", "format"})
    thinking = object_at(asked.get("thinking") or {}, "thinking")
    if config.get("effort") is not None:
        return text_at(config["effort"], "output_config.effort")
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "enabled" and isinstance(budget, int):
        return next(effort for least, effort in _EFFORTS if budget >= least or not least)
    if thinking:
        # Models of other providers think by their own rule, and refuse to be told what they lack.
        ignored.add("thinking")
    return None


def _format(asked: JsonObject, _: set[str]) -> JsonObject | None:
    wanted = object_at(asked.get("output_config") or {}, "output_config").get("format")
    if wanted is None:
        return None
    path = "output_config.format"
    if object_at(wanted, path).get("type") != "json_schema":
        raise refused(f"{path}.type", "must be `json_schema`")
    schema = object_at(wanted.get("schema"), f"{path}.schema")
    told = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": told}


_READ: Mapping[str, Callable[[JsonObject, set[str]], Json]] = {
    "stop": _stop,
    "user": _user,
    "service_tier": _tier,
    "reasoning_effort": _effort,
    "response_format": _format,
}
