"""What is done about the answer to a heartbeat."""

import asyncio

import pytest

from ailb_server.marchproxy.orders import Orders, Wishes
from marchproxy.nlb_pb2 import HeartbeatResponse


class Reloads:
    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.fault: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        await self.go.wait()
        if self.fault is not None:
            raise self.fault


async def test_reloads_come_one_at_a_time_and_hold_up_nothing() -> None:
    reloads = Reloads()
    orders = Orders(reloads)
    for answer in (
        HeartbeatResponse(should_reload=True),
        HeartbeatResponse(instructions={"reload": "TRUE"}),
    ):
        assert orders.obey(answer) == Wishes()
        await asyncio.sleep(0)
    assert reloads.count == 1
    reloads.go.set()
    await asyncio.sleep(0)
    orders.obey(HeartbeatResponse(should_reload=True))
    await asyncio.sleep(0)
    assert reloads.count == 2
    await orders.close()


async def test_a_reload_that_fails_is_told_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reloads = Reloads()
    reloads.fault = RuntimeError("broken")
    reloads.go.set()
    orders = Orders(reloads)
    for count in (1, 2):
        orders.obey(HeartbeatResponse(should_reload=True))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reloads.count == count
    assert "a reload that the load balancer asked for failed" in caplog.text


async def test_an_end_ends_a_reload_that_runs() -> None:
    reloads = Reloads()
    orders = Orders(reloads)
    orders.obey(HeartbeatResponse(should_reload=True))
    await asyncio.sleep(0)
    await orders.close()
    assert reloads.count == 1


@pytest.mark.parametrize(
    ("instructions", "wishes"),
    [
        ({"reload": "false", "reregister": "no"}, Wishes()),
        ({"reregister": "true"}, Wishes(register=True)),
        ({"heartbeat_interval_seconds": "30"}, Wishes(every_s=30)),
        ({"heartbeat_interval_seconds": "0"}, Wishes()),
        ({"heartbeat_interval_seconds": "1e3"}, Wishes()),
        ({"heartbeat_interval_seconds": "-5"}, Wishes()),
        ({"heartbeat_interval_seconds": "9" * 5000}, Wishes()),
        ({"heartbeat_interval_seconds": "²"}, Wishes()),
    ],
)
async def test_instructions(instructions: dict[str, str], wishes: Wishes) -> None:
    assert Orders(Reloads()).obey(HeartbeatResponse(instructions=instructions)) == wishes


async def test_what_is_left_undone_is_told_once_and_not_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders = Orders(Reloads())
    for _ in range(2):
        orders.obey(HeartbeatResponse(should_scale=True, instructions={"dance": "secret"}))
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    for number in range(500):
        orders.obey(HeartbeatResponse(instructions={f"{number}\n{'x' * 1000}": ""}))
    assert len(caplog.records) == 100
    assert max(len(record.getMessage()) for record in caplog.records) < 200
