"""The descriptors of MarchProxy's protos are, name by name, what its load balancer speaks.

`marchproxy/table.txt` was written down from MarchProxy's wire, not from our protos.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from marchproxy import module_pb2, nlb_pb2, types_pb2

TABLE = Path(__file__).parent / "marchproxy" / "table.txt"
FILES = {
    "marchproxy/types.proto": types_pb2.DESCRIPTOR,
    "marchproxy/module.proto": module_pb2.DESCRIPTOR,
    "marchproxy/nlb.proto": nlb_pb2.DESCRIPTOR,
}
# An older dialect's name for SetRateLimit, which we serve beside it.
ADDED = {
    "service ModuleService": {"ApplyRateLimit ApplyRateLimitRequest -> ApplyRateLimitResponse"},
    "message ApplyRateLimitRequest": {"1 instance_id string", "2 limit RateLimit"},
    "message ApplyRateLimitResponse": {"1 success bool", "2 message string", "3 error Error"},
}
SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
}

Blocks = dict[str, set[str]]


@pytest.mark.parametrize("name", FILES)
def test_names_numbers_and_types(name: str) -> None:
    wanted = written(name)
    if name == "marchproxy/module.proto":
        wanted = {
            block: wanted.get(block, set()) | ADDED.get(block, set()) for block in (*wanted, *ADDED)
        }
    assert described(FILES[name]) == wanted


def test_every_file_is_in_the_package() -> None:
    assert {file.package for file in FILES.values()} == {"marchproxy"}
    assert {file.name for file in FILES.values()} == set(FILES)


def written(name: str) -> Blocks:
    """The file's blocks, as the table has them."""
    blocks: Blocks = {}
    lines: set[str] = set()
    here = False
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("file "):
            here = line == f"file {name}"
        elif here and line.startswith("  "):
            lines.add(line.strip())
        elif here:
            lines = blocks[line] = set()
    return blocks


def described(file: FileDescriptor) -> Blocks:
    """The same of a descriptor."""
    blocks: Blocks = {}
    for enum in file.enum_types_by_name.values():
        blocks[f"enum {enum.name}"] = set(values(enum))
    for service in file.services_by_name.values():
        blocks[f"service {service.name}"] = set(methods(service))
    for message in file.message_types_by_name.values():
        blocks[f"message {message.name}"] = set(fields(message))
    return blocks


def values(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{value.name}={value.number}"


def methods(service: ServiceDescriptor) -> Iterator[str]:
    for method in service.methods:
        assert not method.client_streaming
        yield f"{method.name} {method.input_type.name} -> {answer(method)}"


def answer(method: MethodDescriptor) -> str:
    return ("stream " if method.server_streaming else "") + method.output_type.name


def fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        assert not field.has_presence or field.message_type is not None
        yield f"{field.number} {field.name} {kind(field)}"


def kind(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return f"map<{one(key)}, {one(value)}>"
    return ("repeated " if field.is_repeated else "") + one(field)


def one(field: FieldDescriptor) -> str:
    described = field.message_type or field.enum_type
    if described is None:
        return SCALARS[field.type]
    return described.full_name.removeprefix("marchproxy.")
