"""Envoys beside the one of `ailb up`: in front of the floors, and alone."""

from pathlib import Path

import yaml

from ailb_server.local.envoy_config import Address, Edge, render
from ailb_server.local.envoy_program import find_binary, serve_command
from ailb_server.local.resources import data_dir
from benchmarks.programs import Command, Program

# That of `ailb up`.
_THREADS = 2
_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
_ROUTE = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
_ROUTER = {"@type": f"{_EXTENSIONS}.http.router.v3.Router"}
_MANAGER = {
    "@type": f"{_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "plain",
    "stream_idle_timeout": "0s",
    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_ROUTE]}]},
    "http_filters": [{"name": "router", "typed_config": _ROUTER}],
}


def edge(port: int, server_port: int, directory: Path) -> Program:
    """With AILB's configuration, as `ailb envoy-config` writes it, in front of a gRPC server."""
    source = data_dir("envoy")
    place = Edge(
        listen=Address("127.0.0.1", port),
        servers=[Address("127.0.0.1", server_port)],
        data_dir=str(source),
        # Several Envoys run here; the port of the file is one.
        admin_socket="admin.sock",
    )
    return _started(render(source, place), directory)


def plain(port: int, upstream_port: int, directory: Path) -> Program:
    """The least that Envoy can be told: what comes goes on to the upstream."""
    filters = [{"name": "http", "typed_config": _MANAGER}]
    listener = {"address": _address(port), "filter_chains": [{"filters": filters}]}
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    endpoints = {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]}
    cluster = {"name": "upstream", "load_assignment": endpoints}
    resources = {"listeners": [listener], "clusters": [cluster]}
    return _started(yaml.safe_dump({"static_resources": resources}), directory)


def _started(configuration: str, directory: Path) -> Program:
    directory.mkdir()
    path = directory / "envoy.yaml"
    path.write_text(configuration, encoding="utf-8")
    program, *arguments = serve_command(find_binary(), path, concurrency=_THREADS)
    command = Command("Envoy", arguments, directory, program=program)
    return Program(command, directory / "envoy.log")


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
