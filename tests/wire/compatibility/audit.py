"""Looks for what is dropped without a word, member by member.

A member that can be taken out of a request, or put into it, without a change of what the upstream
gets or the caller is told, was dropped silently.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import TypeAlias

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import asks
from tests.wire.compatibility.outcome import Translation, request_with, translate
from tests.wire.compatibility.probe import Probe

Place: TypeAlias = tuple[str | int, ...]
FOREIGN = "x_foreign"

# What says what a thing is, not what is asked: without it, it is guessed the same, or refused.
_KINDS = frozenset({"role", "type"})
# Whose members are the caller's own data, which travel or stay as a whole.
_OPAQUE = frozenset({"parameters", "schema", "metadata", "logit_bias", "rag_filter"})
# What makes no difference to an answer, and why.
EXEMPT: Mapping[str, str] = {
    "response_format.json_schema.name": "a label, which no other provider has",
    "messages.reasoning_content": "told again, with its signature, by `thinking_blocks`",
    "messages.thinking_blocks.index": "what joins a stream's chunks",
    "stream_options": "AILB asks for usage whatever the caller says, and tells it if asked",
    "stream_options.include_usage": "as above",
    "tool_choice.allowed_tools.mode": "`auto` is the default",
}
NAMES_ONLY = frozenset(
    {"tool_choice.allowed_tools.tools", "tool_choice.allowed_tools.tools.function"}
)


def dropped(kind: str, probe: Probe) -> Iterator[str]:
    """The members of the probe's own fields that make no difference, nor are told to be ignored."""
    fields = request_with(probe)
    whole = translate(kind, fields, probe.facts)
    if whole.refused is not None:
        return
    for place in _places(probe.fields):
        path = _dotted(place)
        if not asks(str(place[-1]), _at(fields, place)) or place[-1] in _KINDS:
            continue
        if path in EXEMPT or _told(path, whole):
            continue
        if translate(kind, _without(fields, place), probe.facts) == whole:
            yield path


def unnoticed(kind: str, probe: Probe) -> Iterator[str]:
    """The objects of the request into which a foreign member can be put without notice."""
    fields = request_with(probe)
    whole = translate(kind, fields, probe.facts)
    if whole.refused is not None:
        return
    for place in _objects(fields):
        path = _dotted(place)
        # Without tools there is nothing to say of them.
        unused = path.startswith("tools") and fields.get("tool_choice") == "none"
        if unused or path in NAMES_ONLY or _told(path, whole):
            continue
        changed = deepcopy(fields)
        _at(changed, place)[FOREIGN] = "x"
        if translate(kind, changed, probe.facts) == whole:
            yield path


def with_each_replaced(probe: Probe, value: Json) -> Iterator[JsonObject]:
    """The probe's request with one after the other of its members and items replaced."""
    fields = request_with(probe)
    for place in _places(probe.fields):
        changed = deepcopy(fields)
        _at(changed, place[:-1])[place[-1]] = value
        yield changed


def _places(value: Json, at: Place = ()) -> Iterator[Place]:
    """Every member and item below `at`, but those of opaque data and the messages themselves."""
    for key, inner in _items(value):
        place = (*at, key)
        if not (place[0] == "messages" and len(place) < 3):
            yield place
        if key not in _OPAQUE:
            yield from _places(inner, place)


def _objects(value: Json, at: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict):
        yield at
    for key, inner in _items(value):
        if key not in _OPAQUE:
            yield from _objects(inner, (*at, key))


def _items(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _told(path: str, sent: Translation) -> bool:
    """Whether it, what it is part of, or its kind of member is named as ignored."""
    return any(f".{path}.".startswith(f".{name}.") for name in sent.ignored)


def _without(fields: JsonObject, place: Place) -> JsonObject:
    changed = deepcopy(fields)
    del _at(changed, place[:-1])[place[-1]]
    return changed


def _at(value: Json, place: Place) -> Json:
    for key in place:
        value = value[key]
    return value


def _dotted(place: Place) -> str:
    return ".".join(key for key in place if isinstance(key, str))
