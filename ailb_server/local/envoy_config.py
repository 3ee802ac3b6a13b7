"""Renders Envoy's configuration: `envoy/envoy.yaml` with the addresses and paths of one place."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml
from typing_extensions import override

from ailb_server.local.envoy_transport import Transport

# The files beside envoy.yaml that it names by path.
DATA_FILES = ("ailb.binpb", "rest_errors.lua")

_WRITTEN_DIR = "/etc/envoy/"
_OWNER_ONLY = 0o600
_Node: TypeAlias = Any


class Address(NamedTuple):
    """An IP address or a host name, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Edge:
    """What `render` sets; all else is `envoy.yaml`'s.

    `listen`: where REST is served; its host is an IP address. `servers`: the gRPC servers, chosen
    by least requests. `data_dir`: where Envoy will find `DATA_FILES`. `admin_socket`: a Unix socket
    for Envoy's admin interface instead of the port on loopback that the file names. `transport`:
    TLS and browsers; its secrets are files beside what is rendered, which Envoy finds in
    `secrets_dir`, else in `data_dir`.
    """

    listen: Address
    servers: Sequence[Address]
    data_dir: str
    admin_socket: str | None = None
    transport: Transport = field(default_factory=Transport)
    secrets_dir: str | None = None


def render(source: Path, edge: Edge) -> str:
    """The YAML text for one Envoy; `source` is the directory with `envoy.yaml`."""
    config = yaml.safe_load((source / "envoy.yaml").read_text(encoding="utf-8"))
    resources = config["static_resources"]
    listener_address = _socket_address(edge.listen)
    if edge.listen.host == "::":
        listener_address["socket_address"]["ipv4_compat"] = True
    resources["listeners"][0]["address"] = listener_address
    _set_servers(resources["clusters"][0], edge.servers)
    edge.transport.apply(config, edge.secrets_dir or edge.data_dir)
    if edge.admin_socket is not None:
        config["admin"]["address"] = {"pipe": {"path": edge.admin_socket, "mode": _OWNER_ONLY}}
    return yaml.dump(
        _moved(config, edge.data_dir), Dumper=_PlainDumper, sort_keys=False, width=1000
    )


class _PlainDumper(yaml.SafeDumper):
    """Writes every value where it stands, without anchors."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def _set_servers(cluster: _Node, servers: Sequence[Address]) -> None:
    cluster["load_assignment"]["endpoints"] = [
        {"lb_endpoints": [{"endpoint": {"address": _socket_address(server)}} for server in servers]}
    ]
    if not all(_is_ip(server.host) for server in servers):
        cluster["type"] = "STRICT_DNS"


def _socket_address(address: Address) -> _Node:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _moved(node: _Node, data_dir: str) -> _Node:
    """The node with the paths of the data files changed to `data_dir`."""
    if isinstance(node, dict):
        return {key: _moved(value, data_dir) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, data_dir) for value in node]
    if isinstance(node, str) and node.startswith(_WRITTEN_DIR):
        return f"{data_dir.rstrip('/')}/{node.removeprefix(_WRITTEN_DIR)}"
    return node
