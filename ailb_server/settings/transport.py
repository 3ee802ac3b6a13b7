"""The settings of connections: TLS, browsers, load balancers, signatures."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
ANY_ORIGIN = "*"
_NOTHING = "none"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:]+\]")


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _networks(value: object) -> object:
    listed = _listed(value)
    return () if listed == (_NOTHING,) else listed


_Listed: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
_Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]


class TransportSettings(BaseSettings):
    """What `Settings` has of it."""

    tls_cert_file: Path | None = Field(
        None,
        description="Certificate of the gRPC server, with its chain, as PEM. If set, the gRPC port"
        " speaks TLS only. Read anew when it changes, as all files of TLS are:"
        " [security](security.md#tls).",
    )
    tls_key_file: Path | None = Field(None, description="Its private key, as PEM, not encrypted.")
    tls_client_ca_file: Path | None = Field(
        None,
        description="If set, every caller of the gRPC port must show a certificate that one of"
        " these has signed: Envoy and `ailb health` too.",
    )
    tls_client_cert_file: Path | None = Field(
        None,
        description="The certificate that Envoy and `ailb health` show to the gRPC server.",
    )
    tls_client_key_file: Path | None = Field(None, description="Its private key.")
    envoy_tls_cert_file: Path | None = Field(
        None,
        description="Certificate of the REST port, with its chain. If set, the REST port speaks TLS"
        " only. A path as Envoy sees it, as those below.",
    )
    envoy_tls_key_file: Path | None = Field(None, description="Its private key.")
    envoy_tls_client_ca_file: Path | None = Field(
        None,
        description="If set, every caller of the REST port must show a certificate that one of"
        " these has signed.",
    )
    envoy_upstream_ca_file: Path | None = Field(
        None,
        description="What Envoy checks the gRPC server's certificate by. Default: `TLS_CERT_FILE`."
        " If either is set, Envoy calls the server by TLS.",
    )
    envoy_upstream_names: _Listed = Field(
        (),
        description="The names, separated by commas, of which the server's certificate must have"
        " one. Default: those in `TLS_CERT_FILE`, else the hosts that Envoy calls.",
    )
    cors_allowed_origins: _Listed = Field(
        (),
        description="Origins, separated by commas, whose pages may call the REST port from a"
        " browser, such as `https://app.example.com`; `*` lets every page. Default: none.",
    )
    module_allowed_cidrs: _Networks = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="Networks, separated by commas, from which MarchProxy may call"
        " `marchproxy.ModuleService` without a key or certificate; `none` for none.",
    )
    module_certificate_names: _Listed = Field(
        (),
        description="Names of client certificates that may call it, `*` being a wildcard. Default:"
        " every certificate that `TLS_CLIENT_CA_FILE` lets in.",
    )
    signature_max_skew_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        300,
        description="How many seconds the time of a [signed request](security.md#signed-requests)"
        " may differ from ours.",
    )

    @field_validator("cors_allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if ANY_ORIGIN in value and len(value) > 1:
            raise ValueError("`*` is every origin: it stands alone")
        for origin in value:
            if origin != ANY_ORIGIN:
                _check_origin(origin)
        return value

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        faults = [
            f"{missing.upper()}: is needed with {given.upper()}"
            for given, missing in (
                ("tls_cert_file", "tls_key_file"),
                ("tls_key_file", "tls_cert_file"),
                ("tls_client_ca_file", "tls_cert_file"),
                ("tls_client_cert_file", "tls_client_key_file"),
                ("tls_client_key_file", "tls_client_cert_file"),
                ("envoy_tls_cert_file", "envoy_tls_key_file"),
                ("envoy_tls_key_file", "envoy_tls_cert_file"),
                ("envoy_tls_client_ca_file", "envoy_tls_cert_file"),
            )
            if getattr(self, given) is not None and getattr(self, missing) is None
        ]
        if faults:
            raise ValueError("\n".join(dict.fromkeys(faults)))
        return self


def _check_origin(origin: str) -> None:
    """As a browser writes it in `origin`: RFC 6454, 6.1. Raises ValueError."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        raise ValueError(f"{origin} is no origin") from None
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(
        parts.netloc.removesuffix(f":{port}")
    ):
        raise ValueError(f"{origin} must be http(s)://host or http(s)://host:port, in lower case")
    if origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{origin} must end with its host or port: no `/`, no path")
    if port == _DEFAULT_PORTS[parts.scheme]:
        raise ValueError(f"{origin}: browsers leave out the port that {parts.scheme} has anyway")
