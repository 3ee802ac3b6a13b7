"""Everything that runs while chats are measured: started here, pinned, ended by the stack."""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks import envoys
from benchmarks.import_traffic import Importer
from benchmarks.machine import cpu_pair, cpu_seconds, pin, resident_bytes
from benchmarks.plan import GATEWAYS, Target
from benchmarks.programs import (
    REPOSITORY,
    Command,
    Generator,
    Program,
    RunError,
    ailb,
    free_ports,
    post,
    upstream,
)
from benchmarks.rest import call
from benchmarks.stopping import undisturbed
from benchmarks.workloads import COLLECTION

_DOCUMENTS = 40
_HELLO = '{"model":"demo","messages":[{"role":"user","content":"Hello"}]}'
# None of them is ever reached: what is measured is that they are looked at.
_LIMITS = {
    "requests_per_minute": 60_000_000,
    "tokens_per_minute": 1_000_000_000,
    "max_concurrent": 10_000,
    "monthly_budget_usd": 1_000_000,
}
# Micro-dollars for a million tokens of a model without a price: else budgets would count zeros.
_PRICE = "1000000"
_LITELLM = """\
model_list:
  - model_name: demo
    litellm_params: {{model: openai/demo, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-demo}}
litellm_settings: {{drop_params: true}}
"""
_LITELLM_START = "from litellm import run_server; run_server()"

_Started = TypeVar("_Started", bound=Program)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes; 0 for what a target does not have."""

    server: int
    envoy: int


@dataclass(frozen=True, slots=True)
class Served:
    """Where a target answers, by which key, and what of it takes CPU."""

    port: int
    key: str = "sk-benchmark"
    server: Program | None = None
    envoy: int | None = None
    parts: tuple[Program, ...] = ()

    @property
    def pids(self) -> dict[str, int]:
        """The processes by their roles."""
        server = {} if self.server is None else {"server": self.server.pid}
        return server if self.envoy is None else {**server, "envoy": self.envoy}

    def memory(self) -> Memory:
        """Now."""
        found = {name: resident_bytes(pid) for name, pid in self.pids.items()}
        return Memory(found.get("server", 0), found.get("envoy", 0))


@dataclass(frozen=True, slots=True)
class Rig:
    """`up_s`: from `ailb up` in an empty data directory to the first chat answered."""

    served: dict[Target, Served]
    upstream: Program
    generator: Generator
    up_s: float
    cpus: tuple[int, int] | None

    def check(self) -> None:
        """Raises RunError if anything of it has ended."""
        self.upstream.check()
        for served in self.served.values():
            for part in served.parts:
                part.check()

    def gateway_pids(self) -> set[int]:
        """Of all targets together."""
        return {pid for served in self.served.values() for pid in served.pids.values()}

    def own_cpu_s(self) -> float:
        """CPU seconds so far of all that belongs to the run."""
        pids = {*self.gateway_pids(), self.upstream.pid, self.generator.pid}
        return sum(cpu_seconds(pid) for pid in pids) + time.process_time()


class Starter:
    """Starts a run's programs in one directory; `stack` ends them."""

    def __init__(self, stack: ExitStack, directory: Path, litellm: str | None) -> None:
        self._stack = stack
        self._directory = directory
        self._litellm = litellm
        (self._upstream_port,) = free_ports(1)
        self._up_s = 0.0

    @property
    def upstream_port(self) -> int:
        """Of the bare upstream."""
        return self._upstream_port

    def bare(self) -> Program:
        """The upstream, which everything else needs."""
        program = self._begin(lambda: upstream(self._upstream_port, self._directory))
        program.until_ready(lambda: post(self._upstream_port, _HELLO) is not None)
        return program

    def rig(self, bare: Program, targets: Sequence[Target], *, collection: bool) -> Rig:
        """All targets, ready and pinned. Raises RunError."""
        served: dict[Target, Served] = {"upstream": Served(self._upstream_port)}
        if set(targets) & set(GATEWAYS):
            served |= self._gateway(collection=collection)
        begin: dict[Target, Callable[[], Served]] = {
            "relay": lambda: self._floor("relay"),
            "echo": lambda: self._floor("echo"),
            "Envoy": self._envoy,
            "LiteLLM": self._peer,
        }
        served |= {target: begin[target]() for target in targets if target in begin}
        generator = self._begin(lambda: Generator(self._directory / "generator.log"))
        rig = Rig(served, bare, generator, self._up_s, cpu_pair())
        if rig.cpus is not None:
            # We sleep while a cell is measured, and hold the yardstick to the gateway's CPU before.
            _pin_all({*rig.gateway_pids(), os.getpid()}, rig.cpus[0])
            _pin_all({bare.pid, generator.pid}, rig.cpus[1])
        return rig

    def _gateway(self, *, collection: bool) -> dict[Target, Served]:
        http_port, grpc_port = free_ports(2)
        admin = secrets.token_hex(16)
        settings = {
            "ADMIN_API_KEY": admin,
            "UNKNOWN_PRICE": _PRICE,
            # Else only the first search of each question would be one.
            "RAG_CACHE_SIZE": "0",
        }
        ports = (http_port, grpc_port)
        begun = time.perf_counter()
        program = self._begin(lambda: ailb(ports, self._upstream_port, self._directory, settings))
        program.until_ready(lambda: post(http_port, _HELLO) is not None)
        self._up_s = time.perf_counter() - begun
        if collection:
            Importer(http_port).fill(COLLECTION, _DOCUMENTS)
        order = {"name": "benchmark", "limits": _LIMITS}
        key = str(call(http_port, "POST", "/admin/v1/keys", order, key=admin)["secret"])
        envoy = _envoy_of(program)
        bare = Served(http_port, server=program, envoy=envoy, parts=(program,))
        keyed = Served(http_port, key, server=program, envoy=envoy, parts=(program,))
        return {"AILB": bare, "AILB keyed": keyed}

    def _floor(self, mode: str) -> Served:
        http_port, grpc_port = free_ports(2)
        url = f"http://127.0.0.1:{self._upstream_port}/v1/chat/completions"
        given = ["-m", "benchmarks.floor_server", mode, "--port", str(grpc_port)]
        arguments = [*given, "--upstream", url] if mode == "relay" else given
        command = Command(f"the {mode}", arguments, REPOSITORY)
        server = self._begin(lambda: Program(command, self._directory / f"{mode}.log"))
        place = self._directory / f"{mode}-envoy"
        envoy = self._begin(lambda: envoys.edge(http_port, grpc_port, place))
        return _ready(Served(http_port, server=server, envoy=envoy.pid, parts=(server, envoy)))

    def _envoy(self) -> Served:
        (port,) = free_ports(1)
        place = self._directory / "envoy"
        envoy = self._begin(lambda: envoys.plain(port, self._upstream_port, place))
        return _ready(Served(port, envoy=envoy.pid, parts=(envoy,)))

    def _peer(self) -> Served:
        if self._litellm is None:
            raise RunError("LiteLLM needs --litellm-python")
        (port,) = free_ports(1)
        place = self._directory / "litellm"
        place.mkdir()
        config = place / "config.yaml"
        config.write_text(_LITELLM.format(port=self._upstream_port), encoding="utf-8")
        options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        arguments = ["-c", _LITELLM_START, *options, "--num_workers", "1"]
        # Its own packages and no others; its production settings.
        environment = {
            "PYTHONPATH": "",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            # Else it does not start without a key: this one is on loopback, for some minutes.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        command = Command("LiteLLM", arguments, place, environment, program=self._litellm)
        server = self._begin(lambda: Program(command, place / "litellm.log"))
        return _ready(Served(port, server=server, parts=(server,)))

    def _begin(self, start: Callable[[], _Started]) -> _Started:
        with undisturbed():
            program = start()
            self._stack.push(program)
        return program


def _ready(served: Served) -> Served:
    served.parts[-1].until_ready(lambda: post(served.port, _HELLO) is not None)
    return served


def _pin_all(pids: set[int], cpu: int) -> None:
    for pid in pids:
        pin(pid, cpu)


def _envoy_of(gateway: Program) -> int:
    found = [process.pid for process in gateway.family() if process.name == "envoy"]
    if len(found) != 1:
        raise RunError(f"AILB has {len(found)} processes named envoy instead of one")
    return found[0]
