"""How `ailb up --instances` places its gateways, and what it does about one that ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ailb_server.local import instances
from ailb_server.local.banner import Running
from ailb_server.local.instance import InstanceError, Told
from ailb_server.local.instances import Instances, Place, places
from ailb_server.settings import Configuration, Settings
from tests.support.stack import eventually, free_port


def settings(**fields: object) -> Settings:
    return Settings.model_validate(
        {"http_port": free_port(), "grpc_port": free_port(), "require_api_key": False, **fields}
    )


def test_each_has_ports_and_a_name_of_its_own() -> None:
    chosen = settings(metrics_port=free_port())
    found = places(chosen, 4)
    assert [place.name for place in found] == ["ailb-1", "ailb-2", "ailb-3", "ailb-4"]
    assert found[0].grpc_port == chosen.grpc_port
    assert found[0].metrics_port == chosen.metrics_port
    ports = [chosen.http_port, *(p.grpc_port for p in found), *(p.metrics_port for p in found)]
    assert len(set(ports)) == 9


def test_they_are_named_after_what_was_said() -> None:
    assert [p.name for p in places(settings(module_id="edge"), 2)] == ["edge-1", "edge-2"]


def test_taken_ports_are_left_out() -> None:
    first = free_port()
    found = places(settings(grpc_port=first, http_port=first + 1), 2)
    assert found[1].grpc_port > first + 1
    assert found[1].metrics_port is None


@pytest.mark.parametrize(("said", "has"), [({}, "1.0"), ({"drain_delay_s": 0}, "0.0")])
def test_load_balancers_have_a_second_unless_something_else_is_said(
    said: dict[str, object], has: str
) -> None:
    environment = Place("ailb-1", 1, None).environment(settings(**said), "postgresql://")
    assert environment["DRAIN_DELAY_S"] == has
    assert "METRICS_PORT" not in environment


def test_the_banner_tells_of_each() -> None:
    both = (("ailb-1", 50051), ("ailb-2", 50060))
    told = Running(settings(), (), ("m",), "postgresql://", Path("d"), instances=both).banner()
    for name, port in both:
        assert f" 127.0.0.1:{port} " in told
        assert name in told


def test_what_an_instance_tells_comes_through() -> None:
    told = Told(("a", "b"), has_admin=True, demo=None)
    assert Told.of(told.line().encode()) == told


class Child:
    """Stands for an instance: `lives` are what comes of each start, a status or an error."""

    def __init__(self, *lives: int | InstanceError) -> None:
        self.name = "ailb-1"
        self._lives = list(lives)
        self._status: asyncio.Future[int] = asyncio.Future()
        self.starts = 0
        self.switched = 0

    async def start(self) -> Told:
        self.starts += 1
        life = self._lives.pop(0) if self._lives else None
        self._status = asyncio.Future()
        if isinstance(life, InstanceError):
            self._status.set_result(1)
            raise life
        if life is not None:
            self._status.set_result(life)
        return Told((), has_admin=True, demo=None)

    async def ended(self) -> int:
        return await asyncio.shield(self._status)

    def end(self) -> None:
        if not self._status.done():
            self._status.set_result(0)

    def switch_level(self) -> None:
        self.switched += 1

    async def stop(self) -> None:
        self.end()


async def _no_admin() -> str:
    return ""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[Child], Awaitable[Instances]]:
    """One started supervisor of the child, whose pauses take no time."""
    monkeypatch.setattr(instances, "_PAUSE_S", 0.0)

    async def start(child: Child) -> Instances:
        monkeypatch.setattr(instances, "Instance", lambda *_: child)
        place = Place("ailb-1", 1, None)
        chosen = Instances(Configuration(settings(), ()), [place], "postgresql://", _no_admin)
        await chosen.start()
        return chosen

    return start


async def test_one_that_ends_is_started_again(
    kept: Callable[[Child], Awaitable[Instances]], caplog: pytest.LogCaptureFixture
) -> None:
    child = Child(-9, 0)
    with caplog.at_level(logging.INFO, "ailb_server"):
        running = await kept(child)
        await asyncio.to_thread(eventually, lambda: child.starts == 3)
        assert await running.alive()
        await running.drain()
        await running.close()
    assert child.starts == 3
    assert "ailb-1 ended, status -9" in caplog.text
    assert "ailb-1 serves again" in caplog.text


async def test_one_that_fails_again_and_again_is_given_up(
    kept: Callable[[Child], Awaitable[Instances]], caplog: pytest.LogCaptureFixture
) -> None:
    child = Child(1, *[InstanceError("ailb-1 ended at its start")] * 50)
    running = await kept(child)
    await asyncio.to_thread(eventually, lambda: "given up" in caplog.text)
    assert not await running.alive()
    assert child.starts == 10 + 1
    await running.close()


async def test_an_instance_ends_by_its_own_bounds(
    kept: Callable[[Child], Awaitable[Instances]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call may have given it a longer DRAIN_TIMEOUT_S than this process began with."""
    longest = settings(drain_timeout_s=86_400, drain_delay_s=600)
    waited: list[float] = []

    async def wait(
        ends: list[asyncio.Task[int]],
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[set[asyncio.Task[int]], set[asyncio.Task[int]]]:
        waited.append(timeout)
        await asyncio.gather(*ends)
        return set(ends), set()

    running = await kept(Child())
    monkeypatch.setattr(asyncio, "wait", wait)
    await running.drain()
    assert waited
    assert waited[0] > longest.drain_timeout_s + longest.drain_delay_s


async def test_a_switched_level_of_log_lines_is_passed_on(
    kept: Callable[[Child], Awaitable[Instances]],
) -> None:
    child = Child()
    running = await kept(child)
    running.switch_level()
    assert child.switched == 1
    await running.close()
