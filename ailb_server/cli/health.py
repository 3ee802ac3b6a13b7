"""`ailb health`: asks a running server how it is, for the health checks of containers."""

import grpc
import typer
from grpc_health.v1 import health_pb2

from ailb_server.local.addresses import authority, called_host
from ailb_server.settings import Configuration
from ailb_server.settings.tls_files import own_caller
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import TlsFileError

# Less than the five seconds that the image's health check has.
_TIMEOUT_S = 3.0


def check_own(configuration: Configuration) -> int:
    """As `check`, of the server that these settings start here."""
    settings = configuration.settings
    try:
        tls = own_caller(settings)
    except TlsFileError as error:
        typer.echo(f"ailb: {error}", err=True)
        return 1
    return check(authority(called_host(settings.host), settings.grpc_port), tls)


def check(target: str, tls: CallerFiles | None = None) -> int:
    """0 if the server at `host:port` serves; else 1, and why: it drains, is away or silent."""
    try:
        opened = (
            grpc.insecure_channel(target)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), options=tls.options())
        )
    except TlsFileError as error:
        typer.echo(f"ailb: {error}", err=True)
        return 1
    with opened as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = ask(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            typer.echo(f"ailb: no answer from {target}: {error.code().name}", err=True)
            return 1
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(state)
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1
