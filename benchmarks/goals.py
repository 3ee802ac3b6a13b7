"""What AILB's speed is held to, and how a run and a soak answer that."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.record import Record
from benchmarks.soak_record import SoakRecord
from benchmarks.workloads import workloads

KEYED = "AILB keyed"
CHAT = "`python -m benchmarks.chat --full`"
SOAK = "`python -m benchmarks.soak --minutes 30`"
# Measured on 2026-11-21 with another rig on this kind of machine, one core, c=16: CPU ms of all
# processes. The better one of LiteLLM's two configurations.
PEERS_MEASURED = "2026-11-21"
LITELLM_SMALL, LITELLM_STREAM, PORTKEY_SMALL = 12.9, 35.0, 1.04

_MB = 1024 * 1024
_RATIO = "server CPU / relay"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound from above. `value` is None if the run does not tell."""

    what: str
    bound: float
    value: float | None
    unit: str
    command: str

    @property
    def verdict(self) -> str:
        """Met, or by how much it is missed."""
        if self.value is None:
            return "not measured"
        if self.value <= self.bound:
            return "met"
        return f"missed by {self.value / self.bound - 1:.0%}"


def goals(run: Record, soak: SoakRecord | None) -> list[Goal]:
    """All of them, in the order in which they were set."""
    return [*_floors(run), *_peers(run), *_streams(run), *_process(run), *_soak(soak)]


def _floors(run: Record) -> Iterator[Goal]:
    cells = [("small", "small chat", 1.5), ("stream", "stream of 50 chunks", 1.5)]
    for workload, name, bound in [*cells, ("image", "1 MB image", 3.0)]:
        for load in map(str, workloads()[workload].concurrencies):
            value = run.compared((workload, load, KEYED), _RATIO)
            yield Goal(f"{name}, c={load}: server CPU by the relay's", bound, value, " times", CHAT)


def _peers(run: Record) -> Iterator[Goal]:
    small, stream = (_cpu(run, workload, KEYED) for workload in ("small", "stream"))
    litellm = _cpu(run, "small", "LiteLLM") or LITELLM_SMALL
    streaming = _cpu(run, "stream", "LiteLLM") or LITELLM_STREAM
    what = "c=16: server and Envoy CPU, at most"
    yield Goal(f"small chat, {what} 1/15 of LiteLLM's", litellm / 15, small, " ms", CHAT)
    yield Goal(f"small chat, {what} Portkey's bare relay", PORTKEY_SMALL, small, " ms", CHAT)
    yield Goal(
        f"stream of 50 chunks, {what} 1/25 of LiteLLM's", streaming / 25, stream, " ms", CHAT
    )


def _streams(run: Record) -> Iterator[Goal]:
    paced = workloads()["paced256"]
    load = str(paced.concurrencies[0])
    gap = run.figure((paced.name, load, KEYED), "gap p99")
    what = f"{load} streams, a chunk each {paced.pace_ms:g} ms: p99 between reads"
    yield Goal(what, 2 * paced.pace_ms, gap, " ms", CHAT)
    added = run.compared(("stream", "1", KEYED), "TTFT added p99 ms")
    yield Goal("stream, c=1: first byte later than the upstream's, p99", 2.0, added, " ms", CHAT)


def _process(run: Record) -> Iterator[Goal]:
    found = run.surroundings
    for when, memory in (("idle", found.memory_idle), ("after the load", found.memory_end)):
        resident = memory.get("AILB")
        mb = None if resident is None else resident.server / _MB
        yield Goal(f"resident memory of an instance, {when}", 120.0, mb, " MB", CHAT)
    ready = None if found.starts is None else found.starts.ready_s
    yield Goal("`ailb serve` ready, Postgres running", 2.0, ready, " s", CHAT)


def _soak(soak: SoakRecord | None) -> Iterator[Goal]:
    slope = None if soak is None else soak.slopes.get("server")
    minutes = "" if soak is None else f" of {soak.minutes:g} minutes"
    what = f"growth of an instance in a soak{minutes}, each 10 minutes"
    yield Goal(what, 1.0, slope, " MB", SOAK)


def _cpu(run: Record, workload: str, target: str) -> float | None:
    place = (workload, "16", target)
    server = run.figure(place, "server CPU ms")
    return None if server is None else server + (run.figure(place, "Envoy CPU ms") or 0.0)
