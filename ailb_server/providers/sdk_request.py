"""What an official SDK would send, kept as a template; and what the SDKs list models over."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx2
from multidict import CIMultiDict
from yarl import URL

# What aiohttp writes itself, and what describes a client that does not make the calls.
_NOT_SENT = frozenset({"host", "connection", "accept-encoding", "content-length", "user-agent"})


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """Where a request goes and what it always carries; the headers hold the credential."""

    url: URL
    headers: CIMultiDict[str]


async def recorded(post: Callable[[httpx2.AsyncClient], Awaitable[object]]) -> RequestTemplate:
    """The request that `post` makes over the client it is given; nothing is sent."""
    sent: list[httpx2.Request] = []

    def record(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(record)) as recorder:
        await post(recorder)
    headers = {
        name: value
        for name, value in sent[0].headers.items()
        if name not in _NOT_SENT and not name.startswith("x-stainless-")
    }
    headers["accept-encoding"] = "identity"
    return RequestTemplate(URL(str(sent[0].url), encoded=True), CIMultiDict(headers))


def connections() -> httpx2.AsyncClient:
    """What an SDK lists models over: as chats go, so no proxy, no redirect, the system's CAs."""
    # A proxy of the environment would see the listing and never a chat. The CAs are aiohttp's, and
    # SSL_CERT_FILE, which OpenSSL reads itself, goes for both.
    return httpx2.AsyncClient(
        trust_env=False, follow_redirects=False, verify=ssl.create_default_context()
    )


def authorizes(headers: Mapping[str, str]) -> bool:
    """Whether configured headers bring a credential of their own."""
    return any(name.lower() == "authorization" for name in headers)
