"""Content for any message, drawn by Hypothesis and put into either implementation of protobuf."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from ailb_client._gen.ailb import v1 as generated
from ailb_client._gen.message_pool import default_message_pool

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
# betterproto2 writes -0.0 as 0.0, that is, not at all.
DOUBLE = st.floats(allow_nan=False).map(lambda number: number + 0.0)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int32": INT32,
    "int64": INT64,
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float": st.floats(allow_nan=False, width=32).map(lambda number: number + 0.0),
    "double": DOUBLE,
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
}
# Where encodings go wrong: at the ends of each type, and where a varint gets longer.
EXTREMES: dict[str, list[Any]] = {
    "bool": [False, True],
    "int32": [-(2**31), -1, 0, 127, 128, 2**31 - 1],
    "int64": [-(2**63), -(2**31) - 1, -1, 0, 2**32, 2**63 - 1],
    "uint32": [0, 2**14, 2**32 - 1],
    "uint64": [0, 2**56, 2**64 - 1],
    "float": [0.0, -1.5, float("inf"), 2.0**-149],
    "double": [0.0, -1.5, float("-inf"), 5e-324, 1.7976931348623157e308],
    "string": ["", "\0", "naïve € 🙂", "x" * 128],
    "bytes": [b"", bytes(range(256))],
}
MAX_DEPTH = 3
# betterproto2 makes it a datetime, which has microseconds and the years 1 to 9999.
TIMESTAMP = "google.protobuf.Timestamp"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclasses.dataclass
class Content:
    """What a message holds, in no implementation's terms. Messages within are Content too."""

    fields: dict[int, Any]
    unknown: bytes


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message type of a message field or a map."""
    assert field.message_type is not None
    return field.message_type


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum type of an enum field."""
    assert field.enum_type is not None
    return field.enum_type


def type_of(field: FieldDescriptor) -> str:
    """The field's type as a .proto names it: `int32`, `message`, …"""
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type]


def is_map(field: FieldDescriptor) -> bool:
    return type_of(field) == "message" and message_of(field).GetOptions().map_entry


def is_timestamp(field: FieldDescriptor) -> bool:
    return type_of(field) == "message" and message_of(field).full_name == TIMESTAMP


def timestamp(moment: datetime) -> Content:
    """As seconds and nanoseconds; zeros are not written."""
    seconds, microseconds = divmod((moment - EPOCH) // timedelta(microseconds=1), 1_000_000)
    fields = {1: seconds, 2: microseconds * 1000}
    return Content({number: value for number, value in fields.items() if value}, b"")


def datetime_of(content: Content) -> datetime:
    """What `timestamp` was made of."""
    return EPOCH + timedelta(
        seconds=content.fields.get(1, 0), microseconds=content.fields.get(2, 0) // 1000
    )


def class_of(descriptor: Descriptor) -> type[betterproto2.Message]:
    return default_message_pool.url_to_type[f"type.googleapis.com/{descriptor.full_name}"]


def names_of(message: type[betterproto2.Message]) -> dict[int, str]:
    """Field numbers to the names of the dataclass."""
    return {
        field.metadata["betterproto"].number: field.name
        for field in dataclasses.fields(message)  # type: ignore[arg-type]
    }


# Content of every kind.


def contents(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Content]:
    """Any content: each field unset or any value; of a oneof at most one."""
    groups: dict[str, list[FieldDescriptor]] = {}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        groups.setdefault(field.name if oneof is None else f"oneof {oneof.name}", []).append(field)
    drawn = [st.one_of(st.none(), *(entries(field, depth) for field in g)) for g in groups.values()]
    return st.builds(
        lambda found, unknown: Content(dict(entry for entry in found if entry), unknown),
        st.tuples(*drawn),
        unknown_fields(),
    )


def entries(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """(number, value); None where the messages would nest too deep."""
    if type_of(field) == "message" and depth == MAX_DEPTH:
        return st.none()
    if is_map(field):
        key, value = (message_of(field).fields_by_name[part] for part in ("key", "value"))
        if type_of(value) == "message" and depth == MAX_DEPTH - 1:
            return st.none()
        pairs = st.dictionaries(values(key, depth), values(value, depth + 1), max_size=2)
        return st.tuples(st.just(field.number), pairs)
    value_of = values(field, depth)
    if field.is_repeated:
        value_of = st.lists(value_of, max_size=2)
    return st.tuples(st.just(field.number), value_of)


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = type_of(field)
    if is_timestamp(field):
        return st.datetimes(timezones=st.just(UTC)).map(timestamp)
    if kind == "message":
        return st.deferred(lambda: contents(message_of(field), depth + 1))
    if kind == "enum":
        return st.sampled_from([value.number for value in enum_of(field).values]) | INT32
    return SCALARS[kind]


def extremes(field: FieldDescriptor) -> list[Any]:
    """Values of the field's type at its ends; for a repeated field or a map each alone, and all."""
    if is_map(field):
        key, value = (message_of(field).fields_by_name[part] for part in ("key", "value"))
        keys, items = extremes(key), extremes(value)
        return [{}, *({keys[-1]: item} for item in items), dict.fromkeys(keys, items[-1])]
    kind = type_of(field)
    if is_timestamp(field):
        ends = datetime.min, EPOCH - timedelta(microseconds=1), datetime.max
        singles: list[Any] = [Content({}, b""), *(timestamp(e.replace(tzinfo=UTC)) for e in ends)]
    elif kind == "message":
        singles = [Content({}, b"")]
    elif kind == "enum":
        singles = [*(value.number for value in enum_of(field).values), -1, 2**31 - 1]
    else:
        singles = EXTREMES[kind]
    return [[], *([single] for single in singles), singles] if field.is_repeated else singles


def unknown_fields() -> st.SearchStrategy[bytes]:
    """Fields with numbers that no message has, of every wire type that proto3 has."""
    number = st.integers(1000, 18_999)
    varint = st.builds(lambda n, v: tag(n, 0) + encoded(v), number, st.integers(0, 2**64 - 1))
    fixed64 = st.builds(lambda n, v: tag(n, 1) + v, number, st.binary(min_size=8, max_size=8))
    text = st.builds(lambda n, v: tag(n, 2) + encoded(len(v)) + v, number, st.binary(max_size=8))
    fixed32 = st.builds(lambda n, v: tag(n, 5) + v, number, st.binary(min_size=4, max_size=4))
    return st.lists(varint | fixed64 | text | fixed32, max_size=2).map(b"".join)


def tag(number: int, wire_type: int) -> bytes:
    return encoded(number << 3 | wire_type)


def encoded(varint: int) -> bytes:
    """https://protobuf.dev/programming-guides/encoding/#varints"""
    low, rest = varint & 0x7F, varint >> 7
    return bytes([low | 0x80]) + encoded(rest) if rest else bytes([low])


# The same content in either implementation.


def as_dataclass(descriptor: Descriptor, content: Content) -> betterproto2.Message:
    """Built as its user would: by assignment."""
    message = class_of(descriptor).parse(content.unknown)
    names = names_of(type(message))
    for number, value in content.fields.items():
        field = descriptor.fields_by_number[number]
        setattr(message, names[number], dataclass_value(field, value))
    return message


def dataclass_value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, dict):
        entry = message_of(field).fields_by_name["value"]
        return {key: dataclass_value(entry, item) for key, item in value.items()}
    if isinstance(value, list):
        return [dataclass_value(field, item) for item in value]
    if isinstance(value, Content) and is_timestamp(field):
        return datetime_of(value)
    if isinstance(value, Content):
        return as_dataclass(message_of(field), value)
    if type_of(field) == "enum" and enum_of(field).name in generated.__all__:
        return getattr(generated, enum_of(field).name)(value)
    return value


def as_upb(descriptor: Descriptor, content: Content) -> Message:
    """Built as its user would: by assignment."""
    message = GetMessageClass(descriptor).FromString(content.unknown)
    for number, value in content.fields.items():
        set_upb(message, descriptor.fields_by_number[number], value)
    return message


def set_upb(message: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, dict):
        entry = message_of(field).fields_by_name["value"]
        for key, item in value.items():
            if isinstance(item, Content):
                getattr(message, field.name)[key].CopyFrom(as_upb(message_of(entry), item))
            else:
                getattr(message, field.name)[key] = item
    elif isinstance(value, list):
        getattr(message, field.name).extend(
            as_upb(message_of(field), item) if isinstance(item, Content) else item for item in value
        )
    elif isinstance(value, Content):
        getattr(message, field.name).CopyFrom(as_upb(message_of(field), value))
    else:
        setattr(message, field.name, value)
