"""What `ailb up` shows can be copied and works, whatever it listens on."""

from pathlib import Path

import pytest

from ailb_server.local.banner import Running
from ailb_server.settings import Settings


def banner(host: str) -> str:
    settings = Settings.model_validate({"host": host, "http_port": 8081, "grpc_port": 50052})
    return Running(settings, (), ("m",), "postgresql://", Path("data")).banner()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::1", "[::1]"),
        ("::", "[::1]"),
        ("fd00::2", "[fd00::2]"),
        ("192.0.2.7", "192.0.2.7"),
        ("localhost", "localhost"),
    ],
)
def test_the_addresses_can_be_called(host: str, shown: str) -> None:
    told = banner(host)
    assert f" http://{shown}:8081/v1 " in told
    assert f" {shown}:50052 " in told
    assert f"curl http://{shown}:8081/v1/chat/completions " in told
    assert f"whoever reaches {host} may use it" in told
