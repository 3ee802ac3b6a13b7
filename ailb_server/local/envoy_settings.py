"""From settings to what Envoy does about TLS and browsers."""

from collections.abc import Sequence
from pathlib import Path

from ailb_server.local.envoy_transport import PemPair, Transport
from ailb_server.settings import Settings
from ailb_server.settings.tls_files import client_files, envoy_files, server_files


def transport(settings: Settings, called: Sequence[str]) -> Transport:
    """For an Envoy that calls the servers by the hosts `called`. Raises TlsFileError if it needs to
    know the names in TLS_CERT_FILE and cannot."""
    server_ca = settings.envoy_upstream_ca_file or settings.tls_cert_file
    return Transport(
        listener=_pair(settings.envoy_tls_cert_file, settings.envoy_tls_key_file),
        listener_ca=_text(settings.envoy_tls_client_ca_file),
        server_ca=_text(server_ca),
        server_names=() if server_ca is None else _names(settings, called),
        client=_pair(settings.tls_client_cert_file, settings.tls_client_key_file),
        origins=settings.cors_allowed_origins,
    )


def check_files(settings: Settings) -> None:
    """For an Envoy on this machine, before it starts. Raises TlsFileError."""
    for files in (server_files(settings), client_files(settings), envoy_files(settings)):
        if files is not None:
            files.read()


def _names(settings: Settings, called: Sequence[str]) -> Sequence[str]:
    if settings.envoy_upstream_names:
        return settings.envoy_upstream_names
    files = server_files(settings)
    if files is None or settings.envoy_upstream_ca_file is not None:
        return tuple(dict.fromkeys(called))
    return files.read().certificate.names


def _pair(certificate: Path | None, key: Path | None) -> PemPair | None:
    if certificate is None or key is None:
        return None
    return PemPair(str(certificate.absolute()), str(key.absolute()))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
