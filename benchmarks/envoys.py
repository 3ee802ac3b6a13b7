"""Envoys beside the one of `ailb up`: in front of the floors, and alone."""

from pathlib import Path

import yaml

from ailb_server.local.envoy_config import Address, Edge, render
from ailb_server.local.envoy_program import find_binary, serve_command
from ailb_server.local.resources import data_dir
from benchmarks.programs import Command, Program

# That of `ailb up`.
_THREADS = 2
_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TYPE = "type.googleapis.com"


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
    manager = {
        "@type": f"{_TYPE}/{_HTTP}",
        "stat_prefix": "plain",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "upstream", "timeout": "0s"},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{_TYPE}/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "upstream",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
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
