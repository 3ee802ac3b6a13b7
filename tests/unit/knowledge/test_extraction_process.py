"""The process that reads files: bounded, and replaced when a file ends it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from ailb_server.knowledge.extraction.content_types import ContentType, Format
from ailb_server.knowledge.extraction.cutting import CutRules
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.extraction.process import (
    ExtractionProcess,
    ExtractionRules,
    ExtractionUnavailableError,
)

RULES = CutRules(1000, 100)
PLAIN = ContentType(Format.PLAIN)
# Lexbor takes time quadratic in the depth.
ENDLESS = b"<div>" * 300_000 + b"x"


@pytest.fixture
async def process() -> AsyncIterator[ExtractionProcess]:
    made = ExtractionProcess(ExtractionRules(memory_bytes=300 << 20, timeout_s=2))
    yield made
    await made.close()


async def works(process: ExtractionProcess) -> bool:
    return (await process.cut_up(b"Fine.", PLAIN, RULES)).pieces[0].text == "Fine."


async def test_documents_of_any_size_come_back_whole(process: ExtractionProcess) -> None:
    found = await process.cut_up(b"A few words. " * 100_000, PLAIN, RULES)
    assert found.characters == 1_299_999
    words = "".join(piece.text[piece.overlap :] for piece in found.pieces).replace(" ", "")
    assert words == "Afewwords." * 100_000


async def test_callers_take_turns(process: ExtractionProcess) -> None:
    texts = [f"Document {n}." for n in range(20)]
    found = await asyncio.gather(*(process.cut_up(t.encode(), PLAIN, RULES) for t in texts))
    assert [document.pieces[0].text for document in found] == texts


async def test_a_file_that_takes_too_long_fails_alone(process: ExtractionProcess) -> None:
    with pytest.raises(UnreadableError, match="takes longer than 2 s"):
        await process.cut_up(ENDLESS, ContentType(Format.HTML), RULES)
    assert await works(process)


async def test_a_file_that_takes_too_much_memory_fails_alone(process: ExtractionProcess) -> None:
    with pytest.raises(UnreadableError, match=r"memory|crashed"):
        await process.cut_up(b"<p>x" * 8_000_000, ContentType(Format.HTML), RULES)
    assert await works(process)


async def test_a_crash_fails_one_document_and_a_new_process_reads_the_next(
    process: ExtractionProcess,
) -> None:
    assert await works(process)
    running = process._process
    assert running is not None
    reading = asyncio.create_task(process.cut_up(ENDLESS, ContentType(Format.HTML), RULES))
    await asyncio.sleep(0)
    assert process._turn.locked()
    os.kill(running.pid, signal.SIGSEGV)
    with pytest.raises(UnreadableError, match="crashed the process"):
        await reading
    assert await works(process)


async def test_a_caller_who_gives_up_leaves_no_answer_for_the_next(
    process: ExtractionProcess,
) -> None:
    assert await works(process)
    reading = asyncio.create_task(process.cut_up(ENDLESS, ContentType(Format.HTML), RULES))
    await asyncio.sleep(0)
    assert process._turn.locked()
    reading.cancel()
    await asyncio.wait((reading,))
    assert reading.cancelled()
    assert await works(process)


async def test_the_process_sees_none_of_our_secrets(
    process: ExtractionProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert await works(process)
    running = process._process
    assert running is not None
    with open(f"/proc/{running.pid}/environ", "rb") as environment:  # noqa: ASYNC230
        assert b"sk-secret" not in environment.read()


async def test_a_process_that_does_not_start_is_no_fault_of_the_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ExtractionUnavailableError):
        await ExtractionProcess().cut_up(b"x", PLAIN, RULES)
