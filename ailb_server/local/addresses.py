"""Where what listens on this machine is reached from this machine."""

import ipaddress

_IPV4 = 4


def called_host(host: str) -> str:
    """The host that a client here calls to reach a server that listens on `host`.

    `host` is an IP address or a name; a wildcard is reached by its loopback address.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not ip.is_unspecified:
        return host
    return "127.0.0.1" if ip.version == _IPV4 else "::1"


def authority(host: str, port: int) -> str:
    """`host:port` as a URL and a gRPC target have it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
