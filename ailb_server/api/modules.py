"""How MarchProxy's load balancers get in without a key: its own client has none.

What a caller says of itself in metadata only ever takes trust away: a call that some proxy has
passed on has the proxy's address and the proxy's certificate, which say nothing of its caller.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc

from ailb_server.domain.principal import Principal, Role

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Envoy's HTTP connection manager adds x-forwarded-for and x-envoy-* to whatever it passes on.
_PASSED_ON = ("x-forwarded-", "x-envoy-", "forwarded", "via", "x-real-ip")
_SUBJECT = ("x509_subject_alternative_name", "x509_common_name")
_CERTIFICATE = "x509_pem_cert"


@dataclass(frozen=True, slots=True)
class Came:
    """How a call came. `peer`: as gRPC writes it, of the connection itself. `certificate`: the
    names of a client certificate that was verified; None without one."""

    peer: str
    passed_on: bool = False
    rest: bool = False
    certificate: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ModuleDoor:
    """`networks`: MODULE_ALLOWED_CIDRS. `names`: patterns of MODULE_CERTIFICATE_NAMES; all if
    empty."""

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()

    def caller(self, came: Came) -> Principal | None:
        """Who is let in; None for somebody who needs a key."""
        if came.passed_on or came.rest:
            return None
        if came.certificate is not None and self._knows(came.certificate):
            name = next(iter(came.certificate), "without a name")
            return Principal(name=f"certificate {name}"[:128], role=Role.MODULE)
        address = address_of(came.peer)
        if address is None or not any(address in network for network in self.networks):
            return None
        return Principal(name=f"address {address}", role=Role.MODULE)

    def _knows(self, names: tuple[str, ...]) -> bool:
        if not self.names:
            return True
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.names)


def came(context: Context, *, rest: bool) -> Came:
    """How the call of `context` came."""
    metadata = context.invocation_metadata() or ()
    passed_on = any(str(key).startswith(_PASSED_ON) for key, _ in metadata)
    return Came(context.peer() or "", passed_on, rest, _certificate(context.auth_context()))


def address_of(peer: str) -> _Address | None:
    """The IP address of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`; an IPv4 one within IPv6,
    as a socket for both has it, as IPv4. None for others, such as `unix:`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return None
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _certificate(context: "dict[str, Iterable[bytes]] | Any") -> tuple[str, ...] | None:
    # gRPC tells a certificate only where it was asked for, and then it was verified.
    if not context or _CERTIFICATE not in context:
        return None
    found = (value for key in _SUBJECT for value in context.get(key, ()))
    return tuple(dict.fromkeys(value.decode("utf-8", "replace") for value in found))
