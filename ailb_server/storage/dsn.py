"""Where a DSN leads, told without its user and password."""

import re
from urllib.parse import parse_qs, urlsplit

from ailb_server.storage.outage import StoreUnavailableError

_SCHEMES = ("postgresql", "postgres")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@]*)(:\d+)?")


def place(dsn: str) -> str:
    """`host:port/database` of a DSN; the host may be a socket's directory, or several hosts.

    Raises `StoreUnavailableError` for what is no such DSN, without repeating any of it: a password
    with unescaped special characters would turn up as a host or a port.
    """
    try:
        url = urlsplit(dsn)
    except ValueError:
        raise _unusable() from None
    if url.scheme not in _SCHEMES:
        raise _unusable()
    hosts = url.netloc.rpartition("@")[2]
    rest = url.path + url.query
    if url.fragment or "@" in rest or not all(map(_HOST.fullmatch, hosts.split(","))):
        raise _unusable()
    if not hosts:
        hosts = ",".join(parse_qs(url.query).get("host", ["the default host"]))
    return hosts + url.path


def _unusable() -> StoreUnavailableError:
    return StoreUnavailableError(
        "DATABASE_URL is not of the form postgresql://user:password@host:port/database"
        " (special characters in the password must be percent-encoded)"
    )
