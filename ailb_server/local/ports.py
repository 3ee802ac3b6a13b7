"""Ports of this machine: whether the chosen ones are free, and further ones beside them."""

import socket
from collections.abc import Iterator

from ailb_server.server import PortTakenError
from ailb_server.settings import Settings

_LAST = 65_535


def check_ports(settings: Settings) -> None:
    """Raises PortTakenError before anything is started, for the clearest message."""
    for name, port in _named(settings):
        fault = _fault(settings.host, port)
        if fault is not None:
            raise PortTakenError(
                f"{name} {port} on {settings.host} cannot be used: {fault}."
                f" Set {name} to another port."
            )


def following(settings: Settings, first: int, count: int, taken: set[int]) -> list[int]:
    """`first`, then free ports after it, as many in all as `count`. Those that settings name and
    `taken`, to which the found ones are added, are left out. Raises PortTakenError."""
    taken |= {port for _, port in _named(settings)}
    found = [first]
    for port in range(first + 1, _LAST + 1):
        if len(found) == count:
            break
        if port not in taken and _fault(settings.host, port) is None:
            found.append(port)
    if len(found) < count:
        raise PortTakenError(f"There are no {count} free ports on {settings.host} from {first} on.")
    taken.update(found)
    return found


def _named(settings: Settings) -> Iterator[tuple[str, int]]:
    yield "HTTP_PORT", settings.http_port
    yield "GRPC_PORT", settings.grpc_port
    if settings.metrics_port is not None:
        yield "METRICS_PORT", settings.metrics_port


def _fault(host: str, port: int) -> str | None:
    """Why nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers themselves do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or "it cannot be bound"
    return None
