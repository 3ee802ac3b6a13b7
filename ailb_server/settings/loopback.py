"""Who can reach an address."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether what listens on `host`, an IP address or a name, is for this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
