"""Two independent implementations of protobuf read each other: betterproto2 and Google's upb."""

import dataclasses
import importlib
import re
from pathlib import Path

import betterproto2
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ailb_client._gen.ailb import v1 as generated
from tests.contract.content import (
    Content,
    as_dataclass,
    as_upb,
    class_of,
    contents,
    extremes,
    is_map,
    is_timestamp,
    message_of,
    names_of,
    type_of,
)

PROTOS = Path(__file__).resolve().parents[2] / "proto" / "ailb" / "v1"


def _file(proto: Path) -> FileDescriptor:
    descriptor: FileDescriptor = importlib.import_module(f"ailb.v1.{proto.stem}_pb2").DESCRIPTOR
    return descriptor


FILES = [_file(proto) for proto in sorted(PROTOS.glob("*.proto"))]
MESSAGES: dict[str, Descriptor] = {
    name: message for file in FILES for name, message in file.message_types_by_name.items()
}
ENUMS: dict[str, EnumDescriptor] = {
    name: enum for file in FILES for name, enum in file.enum_types_by_name.items()
}


def canonical(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def exchange(descriptor: Descriptor, content: Content) -> None:
    """Writes the content with either implementation and reads it with the other."""
    ours, theirs = as_dataclass(descriptor, content), as_upb(descriptor, content)
    # Unknown fields are in these bytes too.
    wire = canonical(theirs)
    assert canonical(GetMessageClass(descriptor).FromString(bytes(ours))) == wire
    read = class_of(descriptor).parse(theirs.SerializeToString())
    assert read == ours
    assert canonical(GetMessageClass(descriptor).FromString(bytes(read))) == wire


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_each_reads_every_extreme_that_the_other_writes(name: str) -> None:
    for field in MESSAGES[name].fields:
        for value in extremes(field):
            exchange(MESSAGES[name], Content({field.number: value}, b""))


@pytest.mark.parametrize("name", sorted(MESSAGES))
@settings(
    max_examples=15,
    deadline=None,
    database=None,
    # Without shrinking, which would take minutes here.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_each_reads_any_message_that_the_other_writes(name: str, data: st.DataObject) -> None:
    exchange(MESSAGES[name], data.draw(contents(MESSAGES[name])))


PRESENT = [
    (message, field)
    for message in MESSAGES.values()
    for field in message.fields
    if field.has_presence
]


@pytest.mark.parametrize(("message", "field"), PRESENT, ids=lambda d: d.name)
def test_presence_is_kept(message: Descriptor, field: FieldDescriptor) -> None:
    """A field that is set to its zero is set; one that is not set is not."""
    zero = Content({}, b"") if type_of(field) == "message" else field.default_value
    ours = as_dataclass(message, Content({field.number: zero}, b""))
    theirs = GetMessageClass(message).FromString(bytes(ours))
    assert theirs.HasField(field.name)
    name = names_of(type(ours))[field.number]
    read = class_of(message).parse(theirs.SerializeToString())
    assert getattr(read, name) is not None
    assert getattr(class_of(message).parse(b""), name) is None
    assert not GetMessageClass(message).FromString(bytes(class_of(message)())).HasField(field.name)


# The same definitions in either implementation.


def test_there_is_something_to_compare() -> None:
    assert {"ChatCompletionParameters", "ListModelsResponse", "GetHealthResponse"} <= set(MESSAGES)
    assert {"Role", "ErrorReason"} <= set(ENUMS)
    assert any(field.containing_oneof for _, field in PRESENT)


def test_both_define_the_same_names() -> None:
    assert set(generated.__all__) == {*MESSAGES, *ENUMS}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_both_define_the_same_fields(name: str) -> None:
    fields = dataclasses.fields(class_of(MESSAGES[name]))  # type: ignore[arg-type]
    ours = {field.name: defined(field.metadata["betterproto"]) for field in fields}
    assert ours == {field.name: expected(field) for field in MESSAGES[name].fields}
    hints = {field.name: str(field.type) for field in fields}
    for field in MESSAGES[name].fields:
        for referred in referred_types(field):
            assert re.search(rf"\b{referred}\b", hints[field.name])


def defined(meta: betterproto2.FieldMetadata) -> tuple[object, ...]:
    types = [part.proto_type for part in meta.map_meta or ()]
    return (meta.number, meta.proto_type, types, bool(meta.repeated), meta.optional, meta.group)


def expected(field: FieldDescriptor) -> tuple[object, ...]:
    parts = message_of(field).fields if is_map(field) else []
    kind = "map" if is_map(field) else type_of(field)
    oneof = field.containing_oneof
    group = oneof.name if oneof is not None and not oneof.name.startswith("_") else None
    repeated = field.is_repeated and not is_map(field)
    types = [type_of(part) for part in parts]
    return (field.number, kind, types, repeated, field.has_presence, group)


def referred_types(field: FieldDescriptor) -> list[str]:
    if is_map(field):
        return referred_types(message_of(field).fields_by_name["value"])
    if is_timestamp(field):
        return ["datetime"]
    referred = field.message_type or field.enum_type
    return [] if referred is None else [referred.name]


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_both_define_the_same_values(name: str) -> None:
    ours = {member.name: member.value for member in getattr(generated, name)}
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_"
    theirs = {value.name.removeprefix(prefix): value.number for value in ENUMS[name].values}
    assert ours == theirs
