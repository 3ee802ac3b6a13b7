"""How soon `ailb serve` is ready, where Postgres runs already."""

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from ailb_server.local.postgres import EmbeddedPostgres
from benchmarks.machine import resident_bytes
from benchmarks.programs import Command, Program, free_ports
from benchmarks.stopping import undisturbed

_STARTS = 3


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from the start of `ailb serve` until its gRPC health says SERVING.

    `first_s`: with an empty database, which it migrates; `ready_s`: the median of later ones.
    `resident`: bytes of the last one, before its first request.
    """

    first_s: float
    ready_s: float
    resident: int


def starts(upstream_port: int, directory: Path) -> Starts:
    """Runs a Postgres of its own meanwhile."""
    directory.mkdir()
    # As root, Postgres is another user.
    directory.chmod(0o755)
    postgres = EmbeddedPostgres(directory / "postgres")
    with ExitStack() as stack:
        with undisturbed():
            dsn = postgres.start()
            stack.callback(postgres.stop)
        found = [_start(dsn, upstream_port, directory) for _ in range(1 + _STARTS)]
    ready = statistics.median(seconds for seconds, _ in found[1:])
    return Starts(found[0][0], ready, found[-1][1])


def _start(dsn: str, upstream_port: int, directory: Path) -> tuple[float, int]:
    (port,) = free_ports(1)
    environment = {
        "DATABASE_URL": dsn,
        "GRPC_PORT": str(port),
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "AILB_DATA_DIR": str(directory / "data"),
        "EMBEDDING_BACKEND": "none",
    }
    arguments = ["-m", "ailb_server", "serve"]
    command = Command("ailb serve", arguments, directory, environment)
    begun = time.perf_counter()
    with undisturbed():
        program = Program(command, directory / "serve.log")
    with program:
        program.until_ready(lambda: _serves(port))
        return time.perf_counter() - begun, resident_bytes(program.pid)


def _serves(port: int) -> bool:
    """Asked anew each time: a channel that was refused waits before it tries again."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = ask(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING
