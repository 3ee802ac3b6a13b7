"""Probes of tools, of the choice among them, of the deprecated functions, and of the format."""

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.providers.anthropic_wire_models import ModelFacts
from ailb_server.providers.anthropic_wire_request import JSON_INSTRUCTION
from tests.wire.compatibility.probe import Expected, Meant, Probe, Refused, Sent, ignored

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def _tool(name: str, **further: Json) -> JsonObject:
    function = {"name": name, "description": "d", "parameters": _SCHEMA, **further}
    return {"type": "function", "function": function}


WEATHER = _tool("weather")
_TIME = _tool("time")
_BARE = {"type": "function", "function": {"name": "now"}}
_EMPTY = {"type": "object", "properties": {}}
_STRICT = _tool("weather", strict=True)
_CACHED = {**WEATHER, "cache_control": {"type": "ephemeral"}}
_GRAMMAR = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
_CUSTOM = {"type": "custom", "custom": {"name": "c", "description": "d", "format": _GRAMMAR}}
_FREE = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
_INPUT = {"name": "weather", "description": "d", "input_schema": _SCHEMA}


def _tools(value: str, tool: JsonObject, anthropic: Expected, ollama: Expected) -> Probe:
    return Probe("`tools`", value, {"tools": [tool]}, anthropic, ollama)


TOOLS = (
    _tools("functions", WEATHER, Sent({"tools": [_INPUT]}), Sent({"tools": [WEATHER]})),
    _tools(
        "a function without parameters",
        _BARE,
        Sent({"tools": [{"name": "now", "input_schema": _EMPTY}]}),
        Sent({"tools.0.function.parameters": _EMPTY}),
    ),
    _tools(
        "`strict`: true",
        _STRICT,
        Sent(
            {
                "tools.0.strict": True,
                "tools.0.input_schema": {**_SCHEMA, "additionalProperties": False},
            },
            note="the schema as far as the API enforces it",
        ),
        Sent({"tools": [WEATHER]}, ("tools.function.strict",)),
    ),
    _tools(
        "`cache_control`",
        _CACHED,
        Sent({"tools.0.cache_control": {"type": "ephemeral"}}),
        Sent({"tools": [WEATHER]}, ("tools.cache_control",)),
    ),
    _tools("custom, with a grammar", _CUSTOM, Refused("tools[0].type"), Refused("tools[0].type")),
    _tools("custom, of free text", _FREE, Refused("tools[0].type"), Refused("tools[0].type")),
)


def _choice(value: str, choice: Json, anthropic: Expected, ollama: Expected) -> Probe:
    return Probe(
        "`tool_choice`",
        value,
        {"tool_choice": choice},
        anthropic,
        ollama,
        beside={"tools": [WEATHER, _TIME]},
    )


_NAMED = {"type": "function", "function": {"name": "time"}}
_ANY = Refused("tool_choice", note="it cannot be made to call a tool")
_GONE = Sent(note="no tools are sent")


def _allowed(mode: str) -> JsonObject:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [_NAMED]}}


CHOICES = (
    _choice("`auto`", "auto", Meant(), Meant()),
    _choice("`none`", "none", Sent({"tool_choice": {"type": "none"}}), _GONE),
    _choice("`required`", "required", Sent({"tool_choice": {"type": "any"}}), _ANY),
    _choice("one function", _NAMED, Sent({"tool_choice": {"type": "tool", "name": "time"}}), _ANY),
    _choice(
        "`allowed_tools`, `auto`",
        _allowed("auto"),
        Sent({"tools.0.name": "time"}, note="only the tools allowed are sent"),
        _ANY,
    ),
    _choice(
        "`allowed_tools`, `required`",
        _allowed("required"),
        Sent({"tools.0.name": "time", "tool_choice": {"type": "any"}}),
        _ANY,
    ),
    _choice(
        "one custom tool", {"type": "custom", "custom": {"name": "c"}}, Refused("tool_choice"), _ANY
    ),
    Probe(
        "`parallel_tool_calls`",
        "false",
        {"parallel_tool_calls": False},
        anthropic=Sent({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        ollama=ignored("parallel_tool_calls"),
        beside={"tools": [WEATHER]},
    ),
    Probe(
        "`parallel_tool_calls`",
        "true",
        {"parallel_tool_calls": True},
        anthropic=Meant(),
        ollama=Meant(),
        beside={"tools": [WEATHER]},
    ),
    *(
        Probe(f"`{name}`", value, {name: sample}, Refused(name), Refused(name))
        for name, value, sample in (
            ("functions", "deprecated", [WEATHER["function"]]),
            ("function_call", "deprecated, `auto`", "auto"),
            ("function_call", "deprecated, `none`", "none"),
            ("function_call", "deprecated, one function", {"name": "weather"}),
        )
    ),
)

_PATH = "response_format.json_schema"


def _schema(**further: Json) -> JsonObject:
    named = {"name": "answer", "schema": _SCHEMA, **further}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


_CLOSED = {**_SCHEMA, "additionalProperties": False}
_ENFORCED = Sent(
    {"output_config.format": {"type": "json_schema", "schema": _CLOSED}},
    note="as far as the API enforces schemas",
)

FORMATS = (
    Probe("`response_format`", "`text`", {"response_format": {"type": "text"}}, Meant(), Meant()),
    Probe(
        "`response_format`",
        "`json_object`",
        {"response_format": {"type": "json_object"}},
        anthropic=Sent({"system": JSON_INSTRUCTION}, note="as an instruction"),
        ollama=Sent({"format": "json"}),
    ),
    Probe(
        "`response_format`",
        "`json_schema`",
        _schema(),
        anthropic=_ENFORCED,
        ollama=Sent({"format": _SCHEMA}),
    ),
    Probe(
        "`response_format`",
        "`json_schema`, of a model that is listed as unable",
        _schema(),
        anthropic=Refused("response_format"),
        ollama=Sent({"format": _SCHEMA}),
        facts=ModelFacts(structured_outputs=False),
    ),
    Probe(
        "`response_format`",
        "`json_schema`, `strict`: true",
        _schema(strict=True),
        anthropic=Meant("schemas are always enforced"),
        ollama=Meant("schemas are always enforced"),
        beside=_schema(),
    ),
    Probe(
        "`response_format`",
        "`json_schema`, `description`",
        _schema(description="A place."),
        anthropic=ignored(f"{_PATH}.description"),
        ollama=ignored(f"{_PATH}.description"),
        beside=_schema(),
    ),
    Probe(
        "`response_format`",
        "of another type",
        {"response_format": {"type": "grammar"}},
        anthropic=Refused("response_format.type"),
        ollama=Refused("response_format"),
    ),
)
