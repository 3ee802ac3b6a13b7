"""The files of TLS that the settings name: the server's, and those of its callers beside it."""

from pathlib import Path

from ailb_server.settings.environment import Settings
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile, TlsFiles


def server_files(settings: Settings) -> TlsFiles | None:
    """Of the gRPC server; None if it speaks no TLS."""
    return _files(
        _named("TLS_CERT_FILE", settings.tls_cert_file),
        _named("TLS_KEY_FILE", settings.tls_key_file),
        _named("TLS_CLIENT_CA_FILE", settings.tls_client_ca_file),
    )


def envoy_files(settings: Settings) -> TlsFiles | None:
    """Of the REST port, if Envoy is on this machine; None if it speaks no TLS."""
    return _files(
        _named("ENVOY_TLS_CERT_FILE", settings.envoy_tls_cert_file),
        _named("ENVOY_TLS_KEY_FILE", settings.envoy_tls_key_file),
        _named("ENVOY_TLS_CLIENT_CA_FILE", settings.envoy_tls_client_ca_file),
    )


def client_files(settings: Settings) -> TlsFiles | None:
    """What callers beside the server show it."""
    return _files(
        _named("TLS_CLIENT_CERT_FILE", settings.tls_client_cert_file),
        _named("TLS_CLIENT_KEY_FILE", settings.tls_client_key_file),
        None,
    )


def own_caller(settings: Settings) -> CallerFiles | None:
    """For a call of this machine's own server, whatever name it is called by: trusted is the very
    certificate in TLS_CERT_FILE. None if it speaks no TLS. Raises TlsFileError."""
    server = server_files(settings)
    if server is None:
        return None
    names = server.read().certificate.names
    own = client_files(settings)
    return CallerFiles(
        ca=server.certificate,
        certificate=None if own is None else own.certificate,
        key=None if own is None else own.key,
        # Of a wildcard, any name that it stands for.
        name=names[0].replace("*", "any", 1) if names else None,
    )


def nlb_caller(settings: Settings) -> CallerFiles | None:
    """For calls of MarchProxy's load balancer; None if it speaks no TLS."""
    if not settings.nlb_tls:
        return None
    return CallerFiles(
        ca=_named("NLB_TLS_CA_FILE", settings.nlb_tls_ca_file),
        certificate=_named("NLB_TLS_CERT_FILE", settings.nlb_tls_cert_file),
        key=_named("NLB_TLS_KEY_FILE", settings.nlb_tls_key_file),
    )


def _files(
    certificate: NamedFile | None, key: NamedFile | None, client_ca: NamedFile | None
) -> TlsFiles | None:
    if certificate is None or key is None:
        return None
    return TlsFiles(certificate, key, client_ca)


def _named(setting: str, path: Path | None) -> NamedFile | None:
    return None if path is None else NamedFile(setting, path)
