"""OpenAI's chat request as Ollama's `/api/chat` takes it. Pure.

Source: `ChatRequest` and `Options` in ollama's api/types.go. Parameters that are absent stay so:
the model's own defaults (its Modelfile) hold, except for `num_ctx`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from ailb_server.domain.chat import OWN_FIELDS, ChatRequest, Json, JsonObject
from ailb_server.domain.errors import UntranslatableError
from ailb_server.domain.json_text import exact_dumps
from ailb_server.domain.request_fields import asks, unheeded
from ailb_server.providers.ollama_messages_wire import refused, translate, unable
from ailb_server.providers.ollama_tools_wire import chosen_tools

MAX_NUM_CTX = 16 * 1024 * 1024
_MAX_TOP_LOGPROBS = 20
_CHARACTERS_PER_TOKEN = 4

_NUMBERS = (
    "temperature",
    "top_p",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
)
_INTEGERS = ("seed", "top_k")
_TRANSLATED = frozenset(
    {
        *_NUMBERS,
        *_INTEGERS,
        "model",
        "messages",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "modalities",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "keep_alive",
        "num_ctx",
    }
)
# Without them the answer would be another one, so they are refused, not ignored.
_NOT_TAKEN = ("audio", "functions", "function_call", "moderation", "web_search_options")
_THINK: Mapping[str, Json] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is sent. `prompt_tokens` is an estimate from the text's length; images do not count."""

    body: bytes
    ignored: tuple[str, ...]
    num_ctx: int
    prompt_tokens: int

    @property
    def overflows(self) -> bool:
        """Whether Ollama is likely to cut the prompt, which it does without a word."""
        return self.prompt_tokens > self.num_ctx


def upstream_request(request: ChatRequest, model: str, num_ctx: int) -> UpstreamRequest:
    """Raises InvalidRequestError whose `param` names what Ollama cannot do, or what is malformed.

    `num_ctx` is the context in tokens for requests that do not say it.
    """
    fields = {name: value for name, value in request.fields.items() if value is not None}
    _refuse(fields)
    conversation = translate(fields["messages"])
    tools, ignored_of_tools = chosen_tools(fields)
    options = _options(fields, num_ctx)
    body: JsonObject = {
        "model": model,
        "messages": conversation.messages,
        "stream": request.stream,
        "options": options,
        **_settings(fields),
    }
    if tools:
        body["tools"] = tools
    ignored = conversation.ignored | ignored_of_tools | _ignored(fields)
    text = _encoded(body)
    return UpstreamRequest(
        text,
        tuple(sorted(ignored)),
        options["num_ctx"],
        (len(text) - conversation.image_bytes) // _CHARACTERS_PER_TOKEN,
    )


def _encoded(body: JsonObject) -> bytes:
    try:
        return exact_dumps(body)
    except orjson.JSONEncodeError:
        # What can be read can be written, but for depth: orjson writes 254 levels.
        raise UntranslatableError("The request is nested too deeply.") from None


def _refuse(fields: JsonObject) -> None:
    for name in _NOT_TAKEN:
        if name in fields:
            raise unable(name, f"The provider does not take `{name}`.")
    if fields.get("n", 1) != 1:
        raise unable("n", "The provider gives one choice: `n` must be 1.")
    if fields.get("modalities", ["text"]) != ["text"]:
        raise unable("modalities", "The provider answers in text only.")


def _options(fields: JsonObject, num_ctx: int) -> JsonObject:
    asked = _integer(fields, "num_ctx", 1, MAX_NUM_CTX)
    options: JsonObject = {"num_ctx": num_ctx if asked is None else asked}
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            options.setdefault("num_predict", _integer(fields, name, 1))
    for name in _NUMBERS:
        if name in fields:
            options[name] = _number(fields, name)
    for name in _INTEGERS:
        if name in fields:
            options[name] = _integer(fields, name)
    stop = fields.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise refused("stop", "`stop` must be a string or an array of strings.")
    return {**options, "stop": stops} if stops else options


def _settings(fields: JsonObject) -> JsonObject:
    """What stands beside the options."""
    settings: JsonObject = {}
    if "response_format" in fields:
        settings.update(_format(fields["response_format"]))
    if "reasoning_effort" in fields:
        effort = fields["reasoning_effort"]
        if not isinstance(effort, str):
            raise refused("reasoning_effort", "`reasoning_effort` must be a string.")
        if effort not in _THINK:
            raise unable("reasoning_effort", f"Must be one of {', '.join(_THINK)}.")
        settings["think"] = _THINK[effort]
    return {**settings, **_logprobs(fields), **kept_alive(fields)}


def kept_alive(fields: JsonObject) -> JsonObject:
    """How long the model stays loaded, which all of Ollama's endpoints take, if it is asked for."""
    if "keep_alive" not in fields:
        return {}
    keep_alive = fields["keep_alive"]
    if isinstance(keep_alive, bool) or not isinstance(keep_alive, str | int | float):
        raise refused("keep_alive", "`keep_alive` must be a duration or a number of seconds.")
    return {"keep_alive": keep_alive}


def _logprobs(fields: JsonObject) -> JsonObject:
    wanted = fields.get("logprobs", False)
    if not isinstance(wanted, bool):
        raise refused("logprobs", "`logprobs` must be a boolean.")
    top = _integer(fields, "top_logprobs", 0, _MAX_TOP_LOGPROBS)
    if top and not wanted:
        raise refused("top_logprobs", "`top_logprobs` needs `logprobs` to be true.")
    if not wanted:
        return {}
    return {"logprobs": True} if top is None else {"logprobs": True, "top_logprobs": top}


def _format(wanted: Json) -> JsonObject:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"format": "json"}
    if not isinstance(kind, str):
        raise refused("response_format", "Must be an object with a `type`.")
    if kind != "json_schema":
        raise unable("response_format", "Must be of type text, json_object or json_schema.")
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        raise refused("response_format.json_schema.schema", "`schema` must be an object.")
    return {"format": schema}


def _ignored(fields: JsonObject) -> set[str]:
    """AILB's own fields are not the provider's to ignore."""
    unknown = fields.keys() - _TRANSLATED - OWN_FIELDS
    found = {name for name in unknown if asks(name, fields[name])}
    found |= unheeded(fields.get("stream_options", {}), {"include_usage"}, "stream_options")
    wanted = fields.get("response_format", {})
    found |= unheeded(wanted, {"type", "json_schema"}, "response_format")
    # The name is a label, and schemas are always enforced.
    named = wanted.get("json_schema")
    if isinstance(named, dict):
        found |= unheeded(named, {"name", "schema", "strict"}, "response_format.json_schema")
    if {"max_completion_tokens", "max_tokens"} <= fields.keys():
        found.add("max_tokens")
    # Ollama's models call several tools if they like.
    return found - {"parallel_tool_calls"} if fields.get("parallel_tool_calls") is True else found


def _number(fields: JsonObject, name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(name, f"`{name}` must be a number.")
    return value


def _integer(
    fields: JsonObject, name: str, least: int | None = None, most: int | None = None
) -> int | None:
    if name not in fields:
        return None
    value = _number(fields, name)
    if value != int(value):
        raise refused(name, f"`{name}` must be an integer.")
    if least is not None and value < least:
        raise refused(name, f"`{name}` must be at least {least}.")
    if most is not None and value > most:
        raise refused(name, f"`{name}` must be at most {most}.")
    return int(value)
