"""The smallest value that fits a JSON schema: what a demo answers when a schema is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

# A schema may refer to itself; deeper than this the answer ends with null.
_MAX_DEPTH: Final = 24
_MAX_ITEMS: Final = 64
_MAX_TEXT: Final = 4096

_FORMATS: Final[Mapping[str, str]] = {
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "date-time": "2025-01-01T00:00:00Z",
    "duration": "PT0S",
    "email": "demo@example.com",
    "hostname": "demo.example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


_Schema: TypeAlias = Mapping[str, object]
_Descend: TypeAlias = Callable[[object], object]


def smallest(schema: object) -> object:
    """A minimal instance: required properties only, least lengths and numbers, the first of
    any alternatives, "demo" for text. `pattern`, `not` and `if` are not understood."""
    return _value(schema, schema, 0)


def _value(schema: object, root: object, depth: int) -> object:
    def descend(inner: object) -> object:
        return _value(inner, root, depth + 1)

    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    for value in _given(schema):
        return value
    target = _elsewhere(schema, root)
    return _MAKERS.get(_kind(schema), _null)(schema, descend) if target is None else descend(target)


def _given(schema: _Schema) -> Iterator[object]:
    """The value, if the schema spells one out."""
    for word in ("const", "default"):
        if word in schema:
            yield schema[word]
    options = schema.get("enum")
    if isinstance(options, list):
        yield from options


def _elsewhere(schema: _Schema, root: object) -> object:
    """The schema that stands in for this one, if it is a reference or a choice."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _resolve(reference, root)
    for word in ("anyOf", "oneOf"):
        branches = schema.get(word)
        if isinstance(branches, list) and branches:
            return branches[0]
    parts = schema.get("allOf")
    if isinstance(parts, list) and parts:
        return _merged(schema, parts, root)
    return None


def _resolve(reference: str, root: object) -> object:
    node = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if not step:
            continue
        if not isinstance(node, Mapping):
            return None
        node = node.get(step.replace("~1", "/").replace("~0", "~"))
    return node


def _merged(schema: _Schema, parts: list[object], root: object) -> object:
    merged: dict[str, object] = {k: v for k, v in schema.items() if k != "allOf"}
    properties: dict[str, object] = {}
    required: list[object] = []
    for part in [merged.copy(), *parts]:
        reference = part.get("$ref") if isinstance(part, Mapping) else None
        whole = _resolve(reference, root) if isinstance(reference, str) else part
        if not isinstance(whole, Mapping):
            continue
        merged |= whole
        inner, names = whole.get("properties"), whole.get("required")
        properties |= inner if isinstance(inner, Mapping) else {}
        required += names if isinstance(names, list) else []
    merged.pop("allOf", None)
    return merged | ({"properties": properties, "required": required} if properties else {})


def _kind(schema: _Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "null"


def _object(schema: _Schema, descend: _Descend) -> dict[str, object]:
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if isinstance(properties, Mapping) else {}
    names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
    # The order of `properties` is the order a model answers in.
    ordered = [n for n in known if n in names] + [n for n in names if n not in known]
    return {name: descend(known.get(name)) for name in ordered}


def _array(schema: _Schema, descend: _Descend) -> list[object]:
    count = min(_whole(schema.get("minItems")), _MAX_ITEMS)
    prefix = schema.get("prefixItems")
    heads = list(prefix) if isinstance(prefix, list) else []
    rest = [schema.get("items")] * max(0, count - len(heads))
    return [descend(item) for item in [*heads, *rest]]


def _text(schema: _Schema, _descend: _Descend) -> str:
    known = _FORMATS.get(str(schema.get("format")), "demo")
    least = min(_whole(schema.get("minLength")), _MAX_TEXT)
    most = schema.get("maxLength")
    padded = known + "." * (least - len(known))
    return padded[: most if isinstance(most, int) else None]


def _number(schema: _Schema, _descend: _Descend) -> float:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    value: float = 0
    if isinstance(high, int | float) and high < value:
        value = high
    if isinstance(below, int | float) and below <= value:
        value = below - 1
    if isinstance(low, int | float) and low > value:
        value = low
    if isinstance(above, int | float) and above >= value:
        value = above + 1
    return value


def _null(_schema: _Schema, _descend: _Descend) -> None:
    return None


def _false(_schema: _Schema, _descend: _Descend) -> bool:
    return False


def _whole(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


_MAKERS: Final[Mapping[str, Callable[[_Schema, _Descend], object]]] = {
    "object": _object,
    "array": _array,
    "string": _text,
    "number": _number,
    "integer": _number,
    "boolean": _false,
    "null": _null,
}
