"""The head of a request, as HTTP/1.1 writes it (RFC 9112, 3 and 5)."""

import re
from collections.abc import Mapping
from functools import lru_cache

from yarl import URL

_MAX_LINES = 256
_PORTS = {"http": 80, "https": 443}
# Visible ASCII, spaces, tabs and what RFC 9110, 5.5 calls obs-text: no character that ends a line.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class UnfitHeaderError(ValueError):
    """A header that would not stay within its line. The message names no value."""


def request_head(method: str, url: URL, headers: Mapping[str, str], length: int | None) -> bytes:
    """The request line and the headers, with `host` and, of a body, `content-length`.

    Raises UnfitHeaderError.
    """
    lines = [_first_lines(method, url)]
    lines += [_line(name, value) for name, value in headers.items()]
    lines.append("\r\n" if length is None else f"content-length: {length}\r\n\r\n")
    return "".join(lines).encode("latin-1")


# Most are the same for all requests to a provider.
@lru_cache(maxsize=_MAX_LINES)
def _first_lines(method: str, url: URL) -> str:
    return f"{method} {url.raw_path_qs} HTTP/1.1\r\nhost: {_host(url)}\r\n"


@lru_cache(maxsize=_MAX_LINES)
def _line(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value) or not _NAME.fullmatch(name):
        raise UnfitHeaderError("A header has characters that HTTP does not allow.")
    return f"{name}: {value}\r\n"


def _host(url: URL) -> str:
    host = url.host_subcomponent or ""
    return host if url.port in (None, _PORTS.get(url.scheme)) else f"{host}:{url.port}"
