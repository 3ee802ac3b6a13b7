"""`python -m benchmarks.scale`: what a second gateway adds on this machine.

Runs `ailb up` with 1 and with 2 instances, in turns, under a closed loop of small chats, and reads
every process's CPU time. Upstream and generator share the machine, so that the requests per second
that were seen tell little; what they come to where those two are elsewhere is reckoned from the CPU
time of a request. See benchmarks/README.md.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.load import Order, Outcome, without_identity
from benchmarks.machine import descendants
from benchmarks.programs import Command, Generator, Program, RunError, free_ports, post, upstream
from benchmarks.stopping import StoppedError, stoppable, undisturbed

AIM = 1.6

_COUNTS = (1, 2)
_CONCURRENCY = 64
_WARM_S = 1.0
_MANY = 10_000_000
_INTERRUPTED = 130
_BODY = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Say hello."}]})


@dataclass(frozen=True, slots=True)
class Parts:
    """CPU seconds: of the gateways, Envoy and Postgres, and of the rig: upstream and generator."""

    gateways: float
    envoy: float
    postgres: float
    rig: float

    @classmethod
    def of(cls, cpu_s: Mapping[str, float]) -> "Parts":
        """From each process's, named by its part and a number."""

        def total(part: str) -> float:
            return sum(s for name, s in cpu_s.items() if name.startswith(f"{part} "))

        return cls(total("gateway"), total("envoy"), total("postgres"), total("rig"))


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement with so many instances."""

    instances: int
    done: int
    seconds: float
    cpu: Parts

    @property
    def gateway_ms(self) -> float:
        """CPU milliseconds of a gateway for a request."""
        return 1000 * self.cpu.gateways / self.done

    @property
    def beside_ms(self) -> float:
        """The same of Envoy and Postgres together."""
        return 1000 * (self.cpu.envoy + self.cpu.postgres) / self.done

    def alone_rps(self) -> float:
        """Requests a second if each gateway had a core, and all else were elsewhere."""
        return 1000 * self.instances / self.gateway_ms

    def shared_rps(self, cores: int) -> float:
        """The same if gateways, Envoy and Postgres shared `cores`, and only the rig were elsewhere;
        no gateway uses more than one."""
        return min(self.alone_rps(), 1000 * cores / (self.gateway_ms + self.beside_ms))


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if a request failed or the run could not go on; 130 after a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window (default 5)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each (default 3)")
    options = parser.parse_args(arguments)
    try:
        with stoppable():
            found = list(_windows(options.repetitions, options.seconds))
    except StoppedError:
        return _INTERRUPTED
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    print(text(found, len(os.sched_getaffinity(0))))
    return 0


def text(found: Sequence[Window], cores: int) -> str:
    """A table of medians, and what the second instance multiplies."""
    rows = ["instances  seen/s  gateway ms  Envoy+Postgres ms  per gateway core/s"]
    for count in _COUNTS:
        of = [window for window in found if window.instances == count]
        seen = statistics.median(w.done / w.seconds for w in of)
        gateway = statistics.median(w.gateway_ms for w in of)
        beside = statistics.median(w.beside_ms for w in of)
        rows.append(
            f"{count:9}  {seen:6.0f}  {gateway:10.3f}  {beside:17.3f}  {1000 / gateway:18.0f}"
        )
    alone = _ratio([(w.instances, w.alone_rps()) for w in found])
    shared = _ratio([(w.instances, w.shared_rps(cores)) for w in found])
    seen = _ratio([(w.instances, w.done / w.seconds) for w in found])
    return "\n".join(
        (
            *rows,
            f"two for one: {alone:.2f} with a core for each gateway (the aim is {AIM:g}),"
            f" {shared:.2f} with Envoy and Postgres on the same {cores} cores,"
            f" {seen:.2f} seen, upstream and generator there too",
        )
    )


def _ratio(figures: Sequence[tuple[int, float]]) -> float:
    one, two = (statistics.median(f for count, f in figures if count == n) for n in _COUNTS)
    return two / one


def _windows(repetitions: int, seconds: float) -> Iterator[Window]:
    scratch = tempfile.TemporaryDirectory(prefix="ailb-scale-", ignore_cleanup_errors=True)
    with scratch as name, ExitStack() as stack:
        directory = Path(name)
        upstream_port, *ports = free_ports(1 + 2 * len(_COUNTS))
        with undisturbed():
            provider = stack.enter_context(upstream(upstream_port, directory))
        provider.until_ready(partial(_answers, upstream_port))
        with undisturbed():
            generator = stack.enter_context(Generator(directory / "generator.log"))
        gateways = {}
        for number, count in enumerate(_COUNTS):
            rest, grpc = ports[2 * number : 2 * number + 2]
            place = directory / str(count)
            place.mkdir()
            with undisturbed():
                one = stack.enter_context(_ailb(count, (rest, grpc), upstream_port, place))
            # Two who start at once fight for the cores, and one for the ports after the other's.
            one.until_ready(partial(_answers, rest))
            gateways[count] = (one, rest)
        rig = {"rig 0": provider.pid, "rig 1": generator.pid}
        for turn in range(repetitions * len(_COUNTS)):
            count = _COUNTS[turn % len(_COUNTS)]
            one, rest = gateways[count]
            pids = {**rig, **_processes(one, count)}
            yield _window(count, generator.measure(_order(rest, seconds, pids)))


def _answers(port: int) -> bool:
    return post(port, _BODY) is not None


def _ailb(count: int, ports: tuple[int, int], upstream_port: int, directory: Path) -> Program:
    environment = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "HTTP_PORT": str(ports[0]),
        "GRPC_PORT": str(ports[1]),
        "AILB_DATA_DIR": str(directory / "data"),
        "DRAIN_TIMEOUT_S": "5",
        "EMBEDDING_BACKEND": "none",
        # A line each would be measured too, and on one core for both.
        "ACCESS_LOG_SAMPLE": "0",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }
    arguments = ["-m", "ailb_server", "up", "--instances", str(count)]
    name = f"AILB with {count}"
    return Program(Command(name, arguments, directory, environment), directory / "ailb.log")


def _processes(one: Program, count: int) -> dict[str, int]:
    """Its processes, by part and number."""
    found = {"gateway 0": one.pid} if count == 1 else {}
    for number, process in enumerate(descendants(one.pid)):
        command = (Path("/proc") / str(process.pid) / "cmdline").read_bytes().split(b"\0")
        if process.name in {"envoy", "postgres"}:
            found[f"{process.name} {number}"] = process.pid
        elif b"instance" in command:
            found[f"gateway {number}"] = process.pid
    return found


def _order(port: int, seconds: float, pids: dict[str, int]) -> Order:
    answer = post(port, _BODY)
    if answer is None:
        raise RunError("AILB does not answer")
    return Order(
        port=port,
        body=_BODY,
        expected=without_identity(answer).decode(),
        stream=False,
        concurrency=_CONCURRENCY,
        warm_s=_WARM_S,
        window_s=seconds,
        max_requests=_MANY,
        pids=pids,
    )


def _window(count: int, outcome: Outcome) -> Window:
    if outcome.errors or not outcome.done:
        raise RunError(f"with {count} instances, requests failed: {outcome.errors}")
    return Window(count, outcome.done, outcome.window_s, Parts.of(outcome.cpu_s))


if __name__ == "__main__":
    sys.exit(main())
