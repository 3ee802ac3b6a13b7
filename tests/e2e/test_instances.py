"""`ailb up --instances`: each can be replaced or lost, and the others serve on."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from ailb_server.demo.received import Received
from ailb_server.demo.server import DemoServer
from tests.support.command import Ailb, children_of, name_of
from tests.support.loop_thread import LoopThread
from tests.support.stack import free_port
from tests.support.traffic import CHAT, going_on, paced, whole, words_of

NAMES = ("ailb-1", "ailb-2")
READY = "Try it:"


@dataclass(frozen=True, slots=True)
class Two:
    """Two instances; `received` grows by each request to their provider."""

    ailb: Ailb
    url: str
    received: list[Received]

    def pid(self, name: str) -> int:
        """The instance's."""
        (pid,) = [pid for pid in children_of(self.ailb.process.pid) if is_instance(pid, name)]
        return pid

    def chats(self) -> int:
        """How often the provider was asked for one."""
        return sum(one.path.endswith("/chat/completions") for one in self.received)

    async def until(self, text: str) -> None:
        """Waits until `ailb up` has printed it."""
        await asyncio.to_thread(self.ailb.until, text)


def is_instance(pid: int, name: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"instance" in command and f"MODULE_ID={name}".encode() in environment


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    loop, received = LoopThread(), list[Received]()
    provider = DemoServer(observe=received.append)
    environment = {
        "OPENAI_BASE_URL": loop.run(provider.start()),
        "HTTP_PORT": free_port(),
        "GRPC_PORT": free_port(),
        "AILB_DATA_DIR": tmp_path / "data",
        "ACCESS_LOG_SAMPLE": 0,
    }
    with Ailb("up", "--instances", "2", directory=tmp_path, environment=environment) as ailb:
        ailb.until(READY)
        yield Two(ailb, f"http://127.0.0.1:{environment['HTTP_PORT']}", received)
        parts = children_of(ailb.process.pid)
        ailb.interrupt()
        assert ailb.ends() == 0
        assert [pid for pid in parts if name_of(pid) in {"python", "envoy", "postgres"}] == []
    loop.run(provider.stop())
    loop.stop()


async def test_a_rolling_restart_under_load_loses_no_request(two: Two) -> None:
    assert all(name in two.ailb.output for name in NAMES)
    async with going_on(two.url, streams=50) as tally:
        for name in NAMES:
            before = two.pid(name)
            os.kill(before, signal.SIGTERM)
            await two.until(f"{name} ended, status 0")
            await two.until(f"{name} serves again")
            assert two.pid(name) != before
            # Both take their share again before the other one ends.
            await tally.grows(100)
    assert tally.failures == []
    assert tally.streams >= 100
    assert tally.chats >= 500
    # What was refused and tried elsewhere had not reached the provider.
    assert two.chats() == tally.chats + tally.streams


async def test_a_killed_instance_takes_only_its_own_answers_with_it(two: Two) -> None:
    async with aiohttp.ClientSession(two.url) as http:
        streams = [await http.post(CHAT, json=paced(words=30)) for _ in range(20)]
        for stream in streams:
            assert (await stream.content.readline()).startswith(b"data: ")
        os.kill(two.pid("ailb-2"), signal.SIGKILL)
        # Only then are its sockets closed: its first thread is gone before the others.
        await two.until("ailb-2 ended, status -9; it is started again in 0.5 s")
        # What is written to a connection in the moment of its end is lost with it.
        with contextlib.suppress(AssertionError, aiohttp.ClientError):
            await whole(http)
        for _ in range(20):
            await whole(http)
        ends = await asyncio.gather(*(stream.text() for stream in streams), return_exceptions=True)
        broken = [end for end in ends if isinstance(end, aiohttp.ClientPayloadError)]
        finished = [end for end in ends if isinstance(end, str) and words_of(end) >= 29]
        assert len(broken) + len(finished) == len(streams)
        assert broken
        assert finished
        await two.until("ailb-2 serves again")
        for _ in range(20):
            await whole(http)
    assert "another process has this MODULE_ID" not in two.ailb.output


async def test_sigusr1_switches_the_log_of_each(two: Two) -> None:
    for chosen in ("debug", "info"):
        two.ailb.process.send_signal(signal.SIGUSR1)
        for name in ("ailb-1", "ailb-2"):
            await two.until(f"{name} WARNING ailb_server.cli.running: log level is now {chosen}")
