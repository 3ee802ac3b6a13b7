"""`ailb health`: asks a running server how it is, for the health checks of containers."""

import grpc
import typer
from grpc_health.v1 import health_pb2

# Less than the five seconds that the image's health check has.
_TIMEOUT_S = 3.0


def check(target: str) -> int:
    """0 if the server at `host:port` serves; else 1, and why: it drains, is away or silent."""
    with grpc.insecure_channel(target) as channel:
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
