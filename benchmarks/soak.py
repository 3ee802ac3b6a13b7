"""`python -m benchmarks.soak --minutes 30`: whether memory grows under a mixed load.

Chats, streams, callers that leave, errors and sessions, with and without a key. Resident memory of
server and Envoy, each 10 s; after a warm-up, its slope by least squares.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import pin, resident_bytes
from benchmarks.programs import RunError
from benchmarks.rig import Rig, Starter
from benchmarks.soak_record import Resident, SoakRecord, slopes, write
from benchmarks.soak_traffic import Traffic
from benchmarks.stopping import StoppedError, stoppable

_RESULTS = Path(__file__).parent / "results"
_SAMPLE_S = 10.0
_WARM_SHARE = 0.2
_MAX_WARM_S = 300.0
_MB = 1024 * 1024
_INTERRUPTED = 130
_SOME = 0.001


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if an answer was not as expected or the run could not go on; 130 after a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="directory for the JSON")
    options = parser.parse_args(arguments)
    try:
        with stoppable():
            found = _run(options.minutes, options.rate)
    except StoppedError:
        print("\nStopped; everything that was started has ended.", file=sys.stderr)
        return _INTERRUPTED
    except RunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(text(found))
    path = options.out / f"soak-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    write(path, found)
    print(f"\nWritten: {path}")
    total = sum(found.done.values())
    return 1 if sum(found.unexpected.values()) > _SOME * total else 0


def text(found: SoakRecord) -> str:
    """For people."""
    lines = [
        f"Soak of {found.minutes:g} minutes, {found.rate:g} requests a second;"
        f" the first {found.warm_s:.0f} s are warm-up."
    ]
    for name, slope in found.slopes.items():
        sizes = [one.bytes[name] / _MB for one in found.resident]
        lines.append(
            f"  {name:<7} {slope:+.2f} MB in 10 minutes; {sizes[0]:.1f} MB first,"
            f" {sizes[-1]:.1f} MB last, {max(sizes):.1f} MB at most"
        )
    lines += [f"  {count:>8,}  {kind}" for kind, count in found.done.items()]
    lines += [f"  {count:>8,}  UNEXPECTED  {kind}" for kind, count in found.unexpected.items()]
    return "\n".join(lines)


def _run(minutes: float, rate: float) -> SoakRecord:
    scratch = tempfile.TemporaryDirectory(prefix="ailb-soak-", ignore_cleanup_errors=True)
    with scratch as name, ExitStack() as stack:
        Path(name).chmod(0o711)
        starter = Starter(stack, Path(name), None)
        rig = starter.rig(starter.bare(), ("AILB", "AILB keyed"), collection=False)
        if rig.cpus is not None:
            # Here we are the load.
            pin(os.getpid(), rig.cpus[1])
        return asyncio.run(_soak(rig, minutes, rate))


async def _soak(rig: Rig, minutes: float, rate: float) -> SoakRecord:
    plain, keyed = rig.served["AILB"], rig.served["AILB keyed"]
    traffic = Traffic(plain.port, (plain.key, keyed.key), rate)
    begun, seconds = time.monotonic(), minutes * 60
    sending = asyncio.create_task(traffic.run(lambda: time.monotonic() - begun < seconds))
    resident = [Resident(0.0, _resident(rig))]
    while not sending.done():
        await asyncio.wait((sending,), timeout=_SAMPLE_S)
        rig.check()
        resident.append(Resident(time.monotonic() - begun, _resident(rig)))
        _progress(resident[-1], seconds)
    await sending
    warm_s = min(_MAX_WARM_S, seconds * _WARM_SHARE)
    return SoakRecord(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        minutes=minutes,
        rate=rate,
        warm_s=warm_s,
        slopes=slopes(resident, warm_s),
        done=dict(traffic.counts.done),
        unexpected=dict(traffic.counts.unexpected),
        resident=resident,
    )


def _resident(rig: Rig) -> dict[str, int]:
    return {name: resident_bytes(pid) for name, pid in rig.served["AILB"].pids.items()}


def _progress(one: Resident, seconds: float) -> None:
    if sys.stderr.isatty():
        sizes = ", ".join(f"{name} {size / _MB:.1f} MB" for name, size in one.bytes.items())
        print(f"\r{one.at_s:6.0f} of {seconds:.0f} s: {sizes}   ", end="", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
