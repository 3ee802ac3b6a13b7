"""The file that people mount, and the protos: they say the same."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, ServiceDescriptorProto

from ailb_server.local.envoy_config import DATA_FILES, Address, Edge, render
from ailb_server.local.envoy_program import find_binary, validate_command
from ailb_server.local.envoy_transport import PemPair, Transport
from ailb_server.local.resources import data_dir

SOURCE = data_dir("envoy")
# The extension `google.api.http`, which the package's stubs leave out.
HTTP: Any = vars(annotations_pb2)["http"]


def manager(text: str) -> dict[str, Any]:
    """The HTTP connection manager of a configuration."""
    (chain,) = yaml.safe_load(text)["static_resources"]["listeners"][0]["filter_chains"]
    config: dict[str, Any] = chain["filters"][0]["typed_config"]
    return config


def written() -> dict[str, Any]:
    """The same of the file as it is written."""
    return manager((SOURCE / "envoy.yaml").read_text())


def filter_config(name: str) -> dict[str, Any]:
    """The configuration of an HTTP filter."""
    (found,) = (f for f in written()["http_filters"] if f["name"] == f"envoy.filters.http.{name}")
    config: dict[str, Any] = found["typed_config"]
    return config


def rest_services() -> dict[str, ServiceDescriptorProto]:
    """The services with at least one path, by full name, as Envoy's descriptor set has them."""
    files = FileDescriptorSet.FromString((SOURCE / "ailb.binpb").read_bytes()).file
    return {
        f"{file.package}.{service.name}": service
        for file in files
        for service in file.service
        if any(method.options.HasExtension(HTTP) for method in service.method)
    }


def rest_calls() -> set[tuple[str, str]]:
    """Every HTTP method and path of the protos; a `**` is some path."""
    calls = set()
    for service in rest_services().values():
        for method in service.method:
            rule = method.options.Extensions[HTTP]
            for one in (rule, *rule.additional_bindings):
                verb = one.WhichOneof("pattern")
                if verb:
                    path = re.sub(r"{[^}]*\*\*}", "a/b", getattr(one, verb))
                    calls.add((verb.upper(), re.sub(r"{[^}]*}", "a", path)))
    return calls


def forwarded(method: str, path: str) -> bool:
    """Whether the first route that fits goes to the server."""
    for route in written()["route_config"]["virtual_hosts"][0]["routes"]:
        match = route["match"]
        headers = match.get("headers", [])
        if any(header["name"] == "content-type" for header in headers):
            continue
        if any(header["string_match"]["exact"] != method for header in headers):
            continue
        if "prefix" in match or re.fullmatch(match["safe_regex"]["regex"], path):
            return "route" in route
    return False


def test_every_path_of_the_protos_is_routed_by_its_method_only() -> None:
    calls = rest_calls()
    assert ("POST", "/v1/chat/completions") in calls
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in {path for _, path in calls}:
            assert forwarded(method, path) == ((method, path) in calls), (method, path)


def test_every_service_with_a_path_is_transcoded() -> None:
    assert sorted(filter_config("grpc_json_transcoder")["services"]) == sorted(rest_services())


def test_every_server_answers_are_written_out_as_rest_needs_them() -> None:
    """No 64-bit integers: ProtoJSON quotes them. A Timestamp is written as RFC 3339."""
    files = FileDescriptorSet.FromString((SOURCE / "ailb.binpb").read_bytes()).file
    messages = {
        f".{file.package}.{message.name}": message
        for file in files
        # Those have their own form in ProtoJSON: a Timestamp is a string of RFC 3339.
        if file.package != "google.protobuf"
        for message in file.message_type
    }
    seen: set[str] = set()
    todo = [method.output_type for s in rest_services().values() for method in s.method]
    while todo:
        name = todo.pop()
        if name in seen or name not in messages:
            continue
        seen.add(name)
        for field in messages[name].field:
            assert field.type not in {
                field.TYPE_INT64,
                field.TYPE_UINT64,
                field.TYPE_SINT64,
                field.TYPE_FIXED64,
                field.TYPE_SFIXED64,
            }, f"{name}.{field.name}"
            if field.type_name:
                todo.append(field.type_name)
    assert len(seen) > 3


def test_the_file_is_written_for_loopback_and_the_image_s_directory() -> None:
    config = yaml.safe_load((SOURCE / "envoy.yaml").read_text())
    listener = config["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8080}
    cluster = config["static_resources"]["clusters"][0]
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    (server,) = endpoints["lb_endpoints"]
    assert server["endpoint"]["address"]["socket_address"]["port_value"] == 50051
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    text = (SOURCE / "envoy.yaml").read_text()
    named = re.findall(r"/etc/envoy/(\S+\.\w+)\b", text)
    assert sorted(set(named)) == sorted(DATA_FILES)
    assert all((SOURCE / name).is_file() for name in DATA_FILES)


async def test_envoy_takes_what_is_rendered(tmp_path: Path) -> None:
    edges = [
        Edge(Address("127.0.0.1", 8080), [Address("127.0.0.1", 50051)], str(SOURCE)),
        Edge(
            Address("::", 80),
            [Address("ailb", 50051), Address("::1", 50052)],
            f"{SOURCE}/",
            admin_socket="admin.sock",
        ),
        Edge(
            Address("127.0.0.1", 8080),
            [Address("ailb", 50051)],
            str(SOURCE),
            transport=Transport(
                listener=PemPair("/certs/rest.pem", "/certs/rest.key"),
                listener_ca="/certs/ca.pem",
                server_ca="/certs/ca.pem",
                server_names=("ailb", "*.ailb.internal", "192.0.2.7", "2001:db8::1"),
                client=PemPair("/certs/envoy.pem", "/certs/envoy.key"),
                origins=("https://app.example.com", "http://localhost:3000"),
            ),
            secrets_dir=str(tmp_path),
        ),
    ]
    for name, text in edges[2].transport.secrets().items():
        (tmp_path / name).write_text(text)
    for number, edge in enumerate(edges):
        text = render(SOURCE, edge)
        assert "/etc/envoy" not in text
        file = tmp_path / f"{number} rendered.yaml"
        file.write_text(text)
        checking = await asyncio.create_subprocess_exec(
            *validate_command(find_binary(), file), cwd=tmp_path
        )
        assert await checking.wait() == 0


def test_rendering_changes_addresses_and_paths_only() -> None:
    text = render(SOURCE, Edge(Address("::", 1), [Address("x", 2)], "/etc/envoy"))
    assert manager(text) == written()
    resources = yaml.safe_load(text)["static_resources"]
    assert resources["clusters"][0]["type"] == "STRICT_DNS"
    assert resources["listeners"][0]["address"]["socket_address"]["ipv4_compat"] is True


@pytest.mark.parametrize("name", DATA_FILES)
def test_the_data_files_are_there(name: str) -> None:
    assert (SOURCE / name).stat().st_size > 0
