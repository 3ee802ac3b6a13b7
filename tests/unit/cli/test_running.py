"""A start that a signal interrupts: cancelled if it runs, kept if it is over, its error told."""

import asyncio
import os
import signal

import pytest

from ailb_server.cli.running import Signals, started


async def test_a_start_that_ends_gives_its_result() -> None:
    assert await started(Signals(), asyncio.sleep(0, "running")) == "running"


async def test_a_signal_cancels_a_start_and_waits_for_its_cleaning_up() -> None:
    signals, done = Signals(), list[str]()

    async def start() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")
        return "running"

    with signals.caught():
        assert await started(signals, start()) is None
    assert done == ["cleaned up"]


async def test_a_start_that_is_over_as_the_signal_comes_is_not_lost() -> None:
    """Else what it had started would run on."""
    signals = Signals()

    async def start() -> str:
        signals.end.set()
        return "running"

    assert await started(signals, start()) == "running"


async def test_a_start_that_is_over_in_spite_of_the_signal_is_not_lost() -> None:
    signals = Signals()

    async def start() -> str:
        signals.end.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "running"
        return ""

    assert await started(signals, start()) == "running"


@pytest.mark.parametrize("signalled", [False, True])
async def test_the_error_of_a_start_is_raised(*, signalled: bool) -> None:
    signals = Signals()

    async def start() -> None:
        if signalled:
            signals.end.set()
        raise LookupError

    with pytest.raises(LookupError):
        await started(signals, start())
