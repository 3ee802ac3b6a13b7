"""What OpenAI refuses in a request, with its messages, params and codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from ailb_server.demo.errors import ApiError, missing, wrong_type

Fields = Mapping[str, object]

_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_RANGES: Final[Mapping[str, tuple[float, float | None]]] = {
    "n": (1, 128),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "top_logprobs": (0, 20),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_INTEGERS: Final = frozenset({"n", "max_tokens", "max_completion_tokens", "top_logprobs"})
_FLAGS: Final = ("stream", "logprobs", "parallel_tool_calls")
_MAX_STOPS: Final = 4
_OBJECTS: Final = ("stream_options", "response_format")


def parse(raw: bytes) -> dict[str, object]:
    """The request's JSON object, or a 400."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you "
            "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload.)",
        ) from error
    if not isinstance(fields, dict):
        raise wrong_type("body", "an object", fields)
    return fields


def model_of(fields: Fields) -> str:
    """The model's name, or a 400."""
    model = fields.get("model")
    if model is None or model == "":
        raise ApiError(400, "you must provide a model parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    return model


def check_chat(fields: Fields) -> None:
    """Refuse a chat request OpenAI would refuse. Unknown parameters are let through."""
    _check_messages(fields)
    _check_scalars(fields)
    if fields.get("stream_options") is not None and not fields.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(400, message, param="stream_options")
    if fields.get("top_logprobs") is not None and not fields.get("logprobs"):
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise ApiError(400, message, param="top_logprobs")
    _check_stop(fields.get("stop"))


def check_completion(fields: Fields) -> None:
    """Refuse a request to the older /v1/completions: only `prompt` and the numbers matter."""
    prompt = fields.get("prompt")
    if prompt is None:
        raise missing("prompt")
    if not isinstance(prompt, str | list):
        raise wrong_type("prompt", "a string or an array", prompt)
    numbers = {name: value for name, value in fields.items() if name != "logprobs"}
    _check_scalars(numbers)
    _check_stop(fields.get("stop"))


def _check_messages(fields: Fields) -> None:
    if "messages" not in fields:
        raise missing("messages")
    messages = fields["messages"]
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead."
        )
        raise ApiError(400, message, param="messages", code="empty_array")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)


def _check_message(where: str, message: object) -> None:
    if not isinstance(message, dict):
        raise wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"{where}.role")
    if role not in _ROLES:
        supported = ", ".join(f"'{name}'" for name in _ROLES[:-1])
        text = f"Invalid value: '{role}'. Supported values are: {supported}, and '{_ROLES[-1]}'."
        raise ApiError(400, text, param=f"{where}.role", code="invalid_value")
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise wrong_type(f"{where}.content", "a string or an array of objects", content)


def _check_scalars(fields: Fields) -> None:
    for name in _FLAGS:
        if not isinstance(fields.get(name), bool | None):
            raise wrong_type(name, "a boolean", fields[name])
    for name in _OBJECTS:
        if not isinstance(fields.get(name), dict | None):
            raise wrong_type(name, "an object", fields[name])
    for name, (low, high) in _RANGES.items():
        if fields.get(name) is not None:
            _check_number(name, fields[name], low, high)


def _check_number(name: str, value: object, low: float, high: float | None) -> None:
    whole = name in _INTEGERS
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise wrong_type(name, "an integer" if whole else "a decimal", value)
    _check_range(name, value, low, high)


def _check_range(name: str, value: float, low: float, high: float | None) -> None:
    kind = "integer" if name in _INTEGERS else "decimal"
    if value < low:
        side, bound = "below minimum", f">= {low}"
    elif high is not None and value > high:
        side, bound = "above maximum", f"<= {high}"
    else:
        return
    raise ApiError(
        400,
        f"Invalid '{name}': {kind} {side} value. Expected a value {bound}, but got {value}.",
        param=name,
        code=f"{kind}_{side.replace(' ', '_')}_value",
    )


def _check_stop(stop: object) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise wrong_type("stop", "a string or an array of strings", stop)
    if len(stop) > _MAX_STOPS:
        message = (
            f"Invalid 'stop': array too long. Expected at most {_MAX_STOPS}, but got {len(stop)}."
        )
        raise ApiError(400, message, param="stop", code="array_above_max_length")
