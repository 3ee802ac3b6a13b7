"""JSON schemas as Anthropic's structured outputs take them. Pure.

The same pass as the official package's `transform_schema` (anthropic 2.11
`lib/_parse/_transform.py`): what the API does not enforce moves into the description, objects are
closed, `oneOf` becomes `anyOf`.
"""

from ailb_server.domain.chat import Json, JsonObject

_FORMATS = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_VARIANTS = (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf"))


def enforceable(schema: Json) -> Json:
    """The schema with only what the API enforces; raises RecursionError if nested too deeply.

    What is no schema stays as it is, for the API to judge.
    """
    if not isinstance(schema, dict):
        return schema
    rest: JsonObject = dict(schema)
    kept: JsonObject = {
        name: _each(rest.pop(name)) for name in ("$defs", "definitions") if name in rest
    }
    if "$ref" in rest:
        return {**kept, "$ref": rest["$ref"]}
    kept.update(_kind(rest))
    for name in ("description", "title"):
        if rest.get(name) is not None:
            kept[name] = rest[name]
        rest.pop(name, None)
    types = kept.get("type")
    types = types if isinstance(types, list) else [types]
    if "object" in types:
        kept.update(_closed(rest))
    if "string" in types and rest.get("format") in _FORMATS:
        kept["format"] = rest.pop("format")
    if "array" in types:
        kept.update(_array(rest))
    return _described(kept, rest)


def _kind(rest: JsonObject) -> JsonObject:
    """Takes what says the kind of value out of `rest`: literals, variants or a type."""
    kept = _literals(rest)
    kind = rest.pop("type", None)
    variants = {name: rest.pop(name, None) for name, _ in _VARIANTS}
    for name, written in _VARIANTS:
        if isinstance(variants[name], list):
            kept[written] = [enforceable(variant) for variant in variants[name]]
            break
    if not kept and kind is not None:
        kept["type"] = kind
    return kept


def _literals(rest: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    enum = rest.get("enum")
    if isinstance(enum, list) and enum and all(map(_is_primitive, enum)):
        kept["enum"] = rest.pop("enum")
    if "const" in rest and _is_primitive(rest["const"]):
        kept["const"] = rest.pop("const")
    return kept


def _closed(rest: JsonObject) -> JsonObject:
    kept: JsonObject = {"properties": _each(rest.pop("properties", {}))}
    rest.pop("additionalProperties", None)
    kept["additionalProperties"] = False
    required = rest.pop("required", None)
    if required is not None:
        kept["required"] = required
    return kept


def _array(rest: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    if rest.get("items") is not None:
        kept["items"] = enforceable(rest.pop("items"))
    if rest.get("minItems") in (0, 1):
        kept["minItems"] = rest.pop("minItems")
    return kept


def _described(kept: JsonObject, rest: JsonObject) -> JsonObject:
    """Adds what is not enforced to the description, so that the model may follow it."""
    if rest:
        told = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        before = kept.get("description")
        kept["description"] = f"{before}\n\n{told}" if before is not None else told
    return kept


def _each(schemas: Json) -> Json:
    if not isinstance(schemas, dict):
        return schemas
    return {name: enforceable(schema) for name, schema in schemas.items()}


def _is_primitive(value: Json) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
