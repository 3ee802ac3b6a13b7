"""Which tools a demo answer calls, and with what arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from ailb_server.demo.errors import ApiError
from ailb_server.demo.schema import smallest

_FRAGMENT: Final = 12


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `arguments` is the JSON text OpenAI puts into a string."""

    id: str
    name: str
    arguments: str

    def fragments(self) -> list[str]:
        """The arguments as a stream sends them: a few characters at a time."""
        text = self.arguments
        return [text[start : start + _FRAGMENT] for start in range(0, len(text), _FRAGMENT)]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What `tool_choice` says: must a tool be called, and which ones may be."""

    must: bool
    names: tuple[str, ...] | None = None


def tool_calls(
    fields: Mapping[str, object], *, eager: bool, count: int, tag: str
) -> tuple[ToolCall, ...]:
    """The calls an answer makes: none unless forced by `tool_choice` or by `eager`.

    `count` calls are made, over the allowed tools in turn; `tag` makes their ids.
    """
    functions = _functions(fields.get("tools"))
    wish = _wish(fields.get("tool_choice"))
    if wish.names is not None:
        functions = {name: functions[name] for name in wish.names if name in functions}
    if wish.must and not functions:
        message = "Invalid 'tool_choice': no such tool in the 'tools' parameter."
        raise ApiError(400, message, param="tool_choice", code="invalid_value")
    if not (wish.must or (eager and wish.names != ())) or not functions:
        return ()
    names = list(functions)
    return tuple(
        ToolCall(f"call_demo_{tag}_{index}", name, _arguments(functions[name]))
        for index, name in ((i, names[i % len(names)]) for i in range(count))
    )


def _functions(tools: object) -> dict[str, Mapping[str, object]]:
    found: dict[str, Mapping[str, object]] = {}
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function
    return found


def _wish(choice: object) -> _Wish:
    if choice is None or choice == "auto":
        return _Wish(must=False)
    if choice == "none":
        return _Wish(must=False, names=())
    if choice == "required":
        return _Wish(must=True)
    if not isinstance(choice, dict):
        message = "Invalid value for 'tool_choice': expected none, auto, required or an object."
        raise ApiError(400, message, param="tool_choice", code="invalid_value")
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        names = tuple(_functions(allowed.get("tools")))
        return _Wish(must=allowed.get("mode") == "required", names=names)
    return _Wish(must=True, names=tuple(_functions([choice])))


def _arguments(function: Mapping[str, object]) -> str:
    value = smallest(function.get("parameters"))
    return orjson.dumps(value if isinstance(value, dict) else {}).decode()
