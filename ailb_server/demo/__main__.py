"""`python -m ailb_server.demo --port N`: the demo provider alone, as an upstream to measure
against. Prints its base URL and stops on SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import orjson
import uvloop

from ailb_server.demo.errors import ApiError
from ailb_server.demo.server import DemoServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    server = DemoServer(options.host, options.port, models=options.model)
    try:
        server.behave(orjson.loads(options.demo))
        uvloop.run(_run(server))
    except (ApiError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"--demo: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ailb_server.demo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port (default)")
    parser.add_argument(
        "--model", action="append", default=[], help="a further model that behaves as demo does"
    )
    parser.add_argument(
        "--demo", default="{}", metavar="JSON", help='force wishes, such as {"chunk_ms": 10}'
    )
    return parser


async def _run(server: DemoServer) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    url = await server.start()
    sys.stdout.write(url + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()


if __name__ == "__main__":
    raise SystemExit(main())
