"""`google.protobuf.Struct` and JSON, each from the other."""

import math
from collections.abc import Collection

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError

# An object takes three nested messages, and protobuf's parsers refuse more than 100.
MAX_DEPTH = 24
# Above it a double no longer tells neighbouring integers apart.
_EXACT = 2**53


def json_of(struct: Struct, param: str) -> JsonObject:
    """The object that `struct` holds, in the order of its names; `param` is named in errors.

    A Struct keeps no order. Sorted, the same tools are the same bytes in every process, which the
    providers' prompt caches need.
    """
    return {name: _json(value, param) for name, value in sorted(struct.fields.items())}


def additional(struct: Struct, reserved: Collection[str]) -> JsonObject:
    """What `additional_parameters` holds. Raises InvalidRequestError for a `reserved` name."""
    for name in sorted(struct.fields):
        if name in reserved:
            raise InvalidRequestError(
                f"`{name}` has a place of its own, so `additional_parameters` may not hold it.",
                param=name,
            )
    return json_of(struct, "additional_parameters")


def _json(value: Value, param: str) -> Json:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return number(value.number_value, param)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return json_of(value.struct_value, param)
    if kind == "list_value":
        return [_json(item, param) for item in value.list_value.values]
    return None


def number(value: float, param: str) -> int | float:
    """As JSON writes it: a whole number as an integer, because many servers want `5`, not `5.0`.

    Raises InvalidRequestError for NaN and infinities, which JSON cannot say.
    """
    if not math.isfinite(value):
        raise InvalidRequestError(f"`{param}` holds a number that is not finite.", param=param)
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value


def struct_of(fields: JsonObject) -> Struct:
    """The Struct of a JSON object. Integers become doubles; what is nested deeper than MAX_DEPTH
    becomes null."""
    struct = Struct()
    for name, value in fields.items():
        _fill(struct.fields[name], value, 1)
    return struct


def struct_if_any(fields: JsonObject) -> Struct | None:
    """`struct_of`, or None for an object without members."""
    return struct_of(fields) if fields else None


def _fill(target: Value, value: Json, depth: int) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, dict | list) and depth < MAX_DEPTH:
        _fill_nested(target, value, depth + 1)
    else:
        target.null_value = NULL_VALUE


def _fill_nested(target: Value, value: JsonObject | list[Json], depth: int) -> None:
    if isinstance(value, list):
        # An empty list is a list too.
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item, depth)
        return
    target.struct_value.SetInParent()
    for name, member in value.items():
        _fill(target.struct_value.fields[name], member, depth)
