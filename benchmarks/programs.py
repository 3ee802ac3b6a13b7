"""The processes of a run: each is started here and ended here, by its number."""

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from benchmarks.load import Order, Outcome
from benchmarks.machine import Process, descendants, lives
from benchmarks.stopping import undisturbed

REPOSITORY = Path(__file__).resolve().parents[1]
_INHERITED = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR")
_START_S = 60.0
_STOP_S = 20.0
_POLL_S = 0.01
_OK = 200
_LOG_LINES = 15
# Connecting, and more than the tail of the requests in flight.
_ORDER_SPARE_S = 15.0


class RunError(Exception):
    """The run cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program: Python, or `program`, with these arguments, in a directory, with nothing else in
    its environment than `environment` and what a program needs to run at all."""

    name: str
    arguments: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = sys.executable


class Program:
    """A started process, in a session of its own: the terminal's Ctrl-C is for us alone."""

    def __init__(self, command: Command, log: Path, *, piped: bool = False) -> None:
        self.name = command.name
        self._log = log
        self._family: set[Process] = set()
        inherited = {k: os.environ[k] for k in _INHERITED if k in os.environ}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [command.program, *command.arguments],
                cwd=command.directory,
                env={**inherited, **command.environment},
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            self.end()

    def family(self) -> set[Process]:
        """Its descendants, those that it has since left behind too."""
        self._family |= set(descendants(self.pid))
        return self._family

    def until_ready(self, ready: Callable[[], bool]) -> None:
        """Raises RunError, with the end of its log, if it ends or is not ready in time."""
        deadline = time.monotonic() + _START_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise RunError(f"{self.name} is not ready in {_START_S:g} s:\n{self.last_lines()}")
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raises RunError, with the end of its log, if it has ended."""
        if self.process.poll() is not None:
            raise RunError(f"{self.name} ended by itself:\n{self.last_lines()}")

    def last_lines(self) -> str:
        """The end of what it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def end(self) -> None:
        """Asks it to end; whatever of it is left after that is killed."""
        family = self.family()
        for stop in (self.process.terminate, self.process.kill):
            if self.process.poll() is None:
                stop()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
                break
        for left in family:
            if lives(left):
                with suppress(ProcessLookupError):
                    os.kill(left.pid, signal.SIGKILL)


class Generator(Program):
    """The load generator's process."""

    def __init__(self, log: Path) -> None:
        arguments = ["-m", "benchmarks.generator"]
        super().__init__(Command("the load generator", arguments, REPOSITORY), log, piped=True)
        self._orders, self._outcomes = TypeAdapter(Order), TypeAdapter(Outcome)

    def measure(self, order: Order) -> Outcome:
        """Carries out one order. Raises RunError if the generator fails or does not answer."""
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        if pipe_in is None or pipe_out is None:
            raise RunError("the load generator has no pipes")
        # If it has ended there is no answer either, which is told below.
        with suppress(BrokenPipeError):
            pipe_in.write(self._orders.dump_json(order) + b"\n")
            pipe_in.flush()
        limit = order.warm_s + order.window_s + order.tail_s + _ORDER_SPARE_S
        readable, _, _ = select.select([pipe_out], [], [], limit)
        line = pipe_out.readline() if readable else b""
        if not line:
            raise RunError(f"the load generator failed:\n{self.last_lines()}")
        return self._outcomes.validate_json(line)


def upstream(port: int, directory: Path) -> Program:
    """The bare upstream: the demo provider."""
    arguments = ["-m", "ailb_server.demo", "--port", str(port)]
    return Program(Command("the upstream", arguments, directory), directory / "upstream.log")


def ailb(
    ports: tuple[int, int],
    upstream_port: int,
    directory: Path,
    settings: Mapping[str, str] | None = None,
) -> Program:
    """`ailb up` on a data directory of its own; `ports` are those of REST and of gRPC, `settings`
    further variables."""
    environment = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "HTTP_PORT": str(ports[0]),
        "GRPC_PORT": str(ports[1]),
        "AILB_DATA_DIR": str(directory / "data"),
        "DRAIN_TIMEOUT_S": "5",
        # A first start would fetch the model meanwhile.
        "EMBEDDING_BACKEND": "none",
        **(settings or {}),
    }
    arguments = ["-m", "ailb_server", "up"]
    return Program(Command("AILB", arguments, directory, environment), directory / "ailb.log")


def post(port: int, body: str, key: str = "sk-benchmark") -> bytes | None:
    """The body of a chat's answer; None if there is no server or it does not answer with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        connection.request("POST", "/v1/chat/completions", body.encode(), headers)
        answer = connection.getresponse()
        return answer.read() if answer.status == _OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Different ports that were free a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
