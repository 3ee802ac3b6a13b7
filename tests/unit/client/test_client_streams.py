"""Streams end when they are left, on the server too."""

import asyncio
import gc

import pytest

import ailb_client
from tests.unit.client.double import AilbDouble

PATIENCE_S = 10


async def cancelled(double: AilbDouble) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await double.cancelled.wait()


async def test_the_pieces_come_in_order(ailb: ailb_client.Client) -> None:
    stream = ailb.chat_stream("Why is it so?", model="echo")
    pieces = [ailb_client.text(chunk) async for chunk in stream]
    assert pieces == ["Why ", "is ", "it ", "so?"]
    assert [chunk async for chunk in stream] == []


async def test_leaving_the_block_cancels(ailb: ailb_client.Client, double: AilbDouble) -> None:
    async with ailb.chat_stream("Go on", model="endless") as stream:
        async for _ in stream:
            break
        assert not double.cancelled.is_set()
    await cancelled(double)
    assert [chunk async for chunk in stream] == []


async def test_break_alone_cancels(ailb: ailb_client.Client, double: AilbDouble) -> None:
    gc.disable()
    try:
        async for _ in ailb.chat_stream("Go on", model="endless"):
            break
        await cancelled(double)
    finally:
        gc.enable()


async def test_an_exception_in_the_loop_cancels(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in ailb.chat_stream("Go on", model="endless"):
            raise ZeroDivisionError
    await cancelled(double)


async def test_a_cancelled_task_cancels(ailb: ailb_client.Client, double: AilbDouble) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in ailb.chat_stream("Go on", model="endless"):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cancelled(double)


async def test_closing_the_connection_cancels(target: str, double: AilbDouble) -> None:
    async with ailb_client.connect(target) as ailb:
        stream = ailb.chat_stream("Go on", model="endless")
        await anext(stream)
    await cancelled(double)


async def test_what_came_before_an_error_is_kept(ailb: ailb_client.Client) -> None:
    pieces = []
    with pytest.raises(ailb_client.AilbError) as raised:
        async for chunk in ailb.chat_stream("half an answer", model="cut"):
            pieces.append(ailb_client.text(chunk))
            await asyncio.sleep(0.02)  # The error has arrived by then; it must wait its turn.
    assert pieces == ["half ", "an ", "answer"]
    assert raised.value.reason == "UPSTREAM_UNAVAILABLE"


async def test_after_an_error_a_stream_is_over(ailb: ailb_client.Client) -> None:
    stream = ailb.chat_stream("Hi", model="limited")
    with pytest.raises(ailb_client.AilbError):
        await anext(stream)
    assert [chunk async for chunk in stream] == []
