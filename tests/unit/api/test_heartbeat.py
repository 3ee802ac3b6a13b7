"""Beats while nothing flows, and never into a write."""

import asyncio

import pytest

from ailb_server.api.heartbeat import Heartbeat
from tests.unit.routing.clock import Clock, run


class _Line:
    """Where both the beats and the pieces are written, and when."""

    def __init__(self, clock: Clock, write_s: float = 0.0) -> None:
        self.clock = clock
        self.write_s = write_s
        self.began = clock.now
        self.written: list[tuple[str, float]] = []
        self.busy = False

    async def write(self, what: str) -> None:
        assert not self.busy, "two writes overlap"
        self.busy = True
        await asyncio.sleep(self.write_s)
        self.busy = False
        self.written.append((what, round(self.clock.now - self.began, 3)))

    async def relay(self, *pauses: float) -> None:
        heart = Heartbeat(lambda: self.write("beat"), 15.0)
        async with heart.running():
            for pause in pauses:
                await asyncio.sleep(pause)
                await heart.pause()
                await self.write("piece")
                heart.resume()


def test_beats_whenever_nothing_has_flowed_for_so_long() -> None:
    clock = Clock()
    line = _Line(clock)
    run(clock, line.relay(40.0, 10.0, 14.0, 16.0))
    assert line.written == [
        ("beat", 15),
        ("beat", 30),
        ("piece", 40),
        ("piece", 50),
        ("piece", 64),
        ("beat", 79),
        ("piece", 80),
    ]


def test_a_slow_reader_gets_no_beats_in_between() -> None:
    clock = Clock()
    line = _Line(clock, write_s=40.0)
    run(clock, line.relay(1.0, 100.0))
    assert [what for what, _ in line.written] == ["piece", "beat", "beat", "piece"]


def test_nothing_is_left_when_the_stream_ends_within_a_beat() -> None:
    clock = Clock()
    line = _Line(clock, write_s=10.0)

    async def main() -> None:
        heart = Heartbeat(lambda: line.write("beat"), 15.0)
        async with heart.running():
            await asyncio.sleep(20.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, main())
    assert line.written == []


def test_a_beat_that_fails_is_not_the_streams_end() -> None:
    clock = Clock()

    async def fail() -> None:
        raise ConnectionError

    async def main() -> None:
        async with Heartbeat(fail, 15.0).running():
            await asyncio.sleep(20.0)

    run(clock, main())


@pytest.mark.parametrize("error", [ValueError("told"), asyncio.CancelledError()])
def test_an_error_to_be_told_waits_for_the_beat_and_a_cancellation_does_not(
    error: BaseException,
) -> None:
    clock = Clock()
    line = _Line(clock, write_s=10.0)

    async def main() -> None:
        with pytest.raises(type(error)):
            async with Heartbeat(lambda: line.write("beat"), 15.0).running():
                await asyncio.sleep(20.0)
                raise error
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, main())
    told = isinstance(error, Exception)
    assert line.written == ([("beat", 25)] if told else [])


def test_beats_every_fifteen_seconds_unless_told() -> None:
    clock = Clock()
    line = _Line(clock)

    async def main() -> None:
        async with Heartbeat(lambda: line.write("beat")).running():
            await asyncio.sleep(31.0)

    run(clock, main())
    assert line.written == [("beat", 15), ("beat", 30)]
