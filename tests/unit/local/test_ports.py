"""A port that is taken is named before anything has started."""

import socket

import pytest

from ailb_server.local.ports import check_ports
from ailb_server.server import PortTakenError
from ailb_server.settings import Settings
from tests.support.stack import free_port

NAMES = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_named(name: str, host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {other.lower(): free_port() for other in NAMES} | {name.lower(): port}
        with pytest.raises(PortTakenError, match=f"{name} {port} on {host}"):
            check_ports(Settings.model_validate({"host": host, **ports}))


def test_free_ports_pass() -> None:
    check_ports(Settings.model_validate({name.lower(): free_port() for name in NAMES}))
    check_ports(Settings.model_validate({"http_port": free_port(), "grpc_port": free_port()}))
