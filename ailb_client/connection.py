"""The way to AILB."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from ailb_client.client import Client
from ailb_client.transport import Transport

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


@asynccontextmanager
async def connect(
    target: str,
    *,
    api_key: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    root_certificates: bytes | None = None,
    timeout_s: float = 600.0,
    connect_timeout_s: float = 5.0,
) -> AsyncIterator[Client]:
    """Opens a channel for the time of `async with`; calls that still run at its end are cancelled.

    Connects with the first call, and anew whenever the connection was lost. While there is none,
    calls fail with UNAVAILABLE, at once or within `connect_timeout_s`.

    * `target`: `host:port` of AILB's gRPC server, or any gRPC name such as `dns:///ailb:50051`.
    * `api_key`: sent with each call as `authorization: Bearer`.
    * `root_certificates`: PEM; the connection uses TLS and trusts these. `credentials` says more,
      such as `grpc.ssl_channel_credentials()` for the usual roots. Without both, nothing is
      encrypted, the key neither.
    * `timeout_s`: bounds a whole call, streams included, in seconds.

    Raises ValueError for a URL as target and for a key that no header can carry.
    """
    if target.startswith(("http://", "https://")):
        raise ValueError("target is a host:port such as localhost:50051, not a URL")
    if root_certificates is not None and credentials is None:
        credentials = grpc.ssl_channel_credentials(root_certificates)
    metadata = _metadata(api_key)
    options = _options(connect_timeout_s)
    channel = (
        grpc.aio.insecure_channel(target, options)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options)
    )
    async with channel:
        yield Client(Transport(channel, target, metadata, timeout_s))


def _metadata(api_key: str | None) -> tuple[tuple[str, str], ...]:
    if api_key is None:
        return ()
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("api_key has characters that a header cannot carry")
    return (("authorization", f"Bearer {api_key}"),)


def _options(connect_timeout_s: float) -> tuple[tuple[str, int], ...]:
    connect_timeout_ms = round(connect_timeout_s * 1000)
    return (
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # Finds a dead peer while a model thinks for minutes. The server permits a ping every 5 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # Bounds one attempt to connect, despite its name; the default is 20 s.
        ("grpc.min_reconnect_backoff_ms", connect_timeout_ms),
        ("grpc.dns_ares_query_timeout", connect_timeout_ms),
        # The default grows to two minutes, in which a server that is back would be missed.
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    )
