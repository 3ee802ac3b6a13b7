"""The settings of MarchProxy's load balancer, at which an instance registers."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?")
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")
_MAX_PORT = 65_535


class NlbSettings(BaseSettings):
    """What `Settings` has of it."""

    nlb_address: str | None = Field(
        None,
        description="MarchProxy's load balancer, `host:port`. If set, this instance registers there"
        " and tells it every few seconds how it fares: [MarchProxy](marchproxy.md#registration).",
    )
    nlb_heartbeat_s: Annotated[float, Field(ge=0.1, le=3600)] = Field(
        10, description="Seconds between two heartbeats to it."
    )
    nlb_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = Field(
        5, description="How long a call of it may take."
    )
    nlb_tls: bool = Field(
        default=False, description="Whether it is spoken to by TLS. MarchProxy's own has none."
    )
    nlb_tls_ca_file: Path | None = Field(
        None,
        description="What its certificate is checked by, as PEM. Default: the machine's roots.",
    )
    nlb_tls_cert_file: Path | None = Field(
        None, description="The certificate that it is shown, if it asks for one."
    )
    nlb_tls_key_file: Path | None = Field(None, description="Its private key.")
    module_address: str | None = Field(
        None,
        description="Where load balancers and other instances reach this one's gRPC port: `host` or"
        " `host:port`; in Kubernetes the pod's address. Default: `HOST`, or this machine's name if"
        " that is every address, and the port that it listens on.",
    )
    module_rest_address: str | None = Field(
        None,
        description="Where the load balancer reaches the REST port (Envoy) in front of this"
        " instance: `host:port`. Default: it is not told of one.",
    )

    @field_validator("nlb_address", "module_rest_address")
    @classmethod
    def _with_port(cls, value: str | None) -> str | None:
        if value is not None and _port(value) is None:
            raise ValueError("must be host:port, an IPv6 address in brackets")
        return value

    @field_validator("module_address")
    @classmethod
    def _with_or_without(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # As Kubernetes writes the address of a pod.
        value = f"[{value}]" if _BARE_IPV6.fullmatch(value) else value
        _port(value)
        return value

    @model_validator(mode="after")
    def _tls_files(self) -> Self:
        faults = []
        if (self.nlb_tls_cert_file is None) != (self.nlb_tls_key_file is None):
            faults.append("NLB_TLS_CERT_FILE: and NLB_TLS_KEY_FILE need each other")
        if (self.nlb_tls_ca_file or self.nlb_tls_cert_file) and not self.nlb_tls:
            faults.append("NLB_TLS: must be true for the files of NLB_TLS_… to be used")
        if faults:
            raise ValueError("\n".join(faults))
        return self


def _port(authority: str) -> int | None:
    """None without one. Raises ValueError."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("must be host or host:port, an IPv6 address in brackets")
    if found["port"] is None:
        return None
    port = int(found["port"])
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"has a port that is none: 1 to {_MAX_PORT}")
    return port
