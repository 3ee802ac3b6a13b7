"""The worker's process: bounded, restarted, never in a text's way, and never left behind."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.embedding.admission import AdmissionRules
from ailb_server.embedding.link import LinkRules
from ailb_server.embedding.local import LocalEmbedder, LocalRules
from tests.support.embedding import Silent, is_running, local_embedder, until_ready
from tests.support.stack import REPOSITORY, eventually

LONG = "a text with a good many words in it " * 30


@asynccontextmanager
async def started(
    model: Path,
    rules: LocalRules | None = None,
    link: LinkRules | None = None,
    observer: Silent | None = None,
) -> AsyncIterator[LocalEmbedder]:
    embedder = local_embedder(model, rules=rules, link=link, observer=observer)
    embedder.start()
    try:
        yield await until_ready(embedder)
    finally:
        await embedder.close()


def pid_of(embedder: LocalEmbedder) -> int:
    pid = embedder.worker_pid
    assert pid is not None
    return pid


async def test_killed_under_load_it_comes_back_and_no_text_is_lost(model_directory: Path) -> None:
    rules = LocalRules(query_s=30)
    async with started(model_directory, rules) as embedder:
        texts = [f"{n} {LONG}" for n in range(12)]
        bulk = asyncio.create_task(embedder.bulk.embed(texts))
        queries = [asyncio.create_task(embedder.embed([f"query {n}"])) for n in range(8)]
        await queries[0]
        first = pid_of(embedder)
        os.kill(first, signal.SIGKILL)
        assert len(await bulk) == len(texts)
        for query in queries:
            await query
        assert pid_of(embedder) != first
        assert embedder.health().problem == ""


async def test_close_ends_the_worker_in_the_middle_of_its_work(model_directory: Path) -> None:
    async with started(model_directory) as embedder:
        pid = pid_of(embedder)
        bulk = asyncio.create_task(embedder.bulk.embed([f"{n} {LONG}" for n in range(64)]))
        await asyncio.sleep(0)
    assert not is_running(pid)
    with pytest.raises(EmbedderUnavailableError):
        await bulk


async def test_a_worker_can_be_closed_while_it_starts(model_directory: Path) -> None:
    embedder = local_embedder(model_directory)
    embedder.start()
    assert embedder.space is None
    assert embedder.health().problem == "starting"
    async with asyncio.timeout(10):
        while embedder.worker_pid is None:  # noqa: ASYNC110 - the embedder changes it
            await asyncio.sleep(0.001)
    pid = pid_of(embedder)
    await embedder.close()
    assert not is_running(pid)


PARENT = """
import asyncio, sys
from tests.support.embedding import local_embedder, until_ready

async def main():
    embedder = local_embedder(sys.argv[1])
    embedder.start()
    if sys.argv[2] == "ready":
        await until_ready(embedder)
    while embedder.worker_pid is None:
        await asyncio.sleep(0.001)
    print(embedder.worker_pid, flush=True)
    await embedder.bulk.embed([f"{n} " + "words and words " * 60 for n in range(500)])

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["ready", "starting"])
def test_it_ends_with_a_parent_that_is_killed(model_directory: Path, when: str) -> None:
    command = [sys.executable, "-c", PARENT, str(model_directory), when]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    eventually(lambda: not is_running(worker))


async def test_it_is_below_every_chat(model_directory: Path) -> None:
    async with started(model_directory) as embedder:
        pid = pid_of(embedder)
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        # Of a session of its own: the terminal's Ctrl-C is not for it.
        assert os.getsid(pid) != os.getsid(0)


async def test_queries_beyond_the_bound_are_refused_at_once(model_directory: Path) -> None:
    rules = LocalRules(query_s=30, admission=AdmissionRules(texts=4, bytes=10_000))
    observer = Silent()
    async with started(model_directory, rules, observer=observer) as embedder:
        waiting = asyncio.create_task(embedder.embed([f"{n} {LONG}" for n in range(4)]))
        await asyncio.sleep(0)
        with pytest.raises(EmbedderUnavailableError, match="Too many"):
            await embedder.embed(["one more"])
        # Bulk has a bound of its own.
        assert len(await embedder.bulk.embed(["an import"])) == 1
        assert len(await waiting) == 4
        with pytest.raises(EmbedderUnavailableError, match="Too many"):
            await embedder.embed(["x" * 20_000])
        await embedder.embed(["now there is room"])
        assert observer.most_waiting == 4
    assert ("query", "unavailable") in observer.outcomes


async def test_bulk_is_fed_a_little_at_a_time(model_directory: Path) -> None:
    observer = Silent()
    rules = LocalRules(admission=AdmissionRules(bulk_texts=8, bulk_calls=2))
    async with started(model_directory, rules, observer=observer) as embedder:
        calls = [
            asyncio.create_task(embedder.bulk.embed([f"{c}.{n}" for n in range(50)]))
            for c in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(EmbedderUnavailableError, match="imports"):
            await embedder.bulk.embed(["a third one"])
        assert [len(await call) for call in calls] == [50, 50]
    assert observer.most_waiting == 8


async def test_a_query_does_not_wait_for_an_import(model_directory: Path) -> None:
    async with started(model_directory) as embedder:
        done: list[str] = []

        async def bulk() -> None:
            await embedder.bulk.embed([f"{n} {LONG}" for n in range(24)])
            done.append("bulk")

        running = asyncio.create_task(bulk())
        await asyncio.sleep(0)
        for n in range(3):
            await embedder.embed([f"a query {n}"])
            done.append("query")
        await running
        assert done == ["query"] * 3 + ["bulk"]


async def test_a_worker_that_stands_still_does_not_hold_a_query(model_directory: Path) -> None:
    link = LinkRules(stall_s=0.5)
    async with started(model_directory, LocalRules(query_s=0.2), link) as embedder:
        first = pid_of(embedder)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(EmbedderUnavailableError, match="within"):
            await embedder.embed(["a query"])
        # One that may wait is answered by the next worker.
        assert len(await embedder.bulk.embed(["an import"])) == 1
        assert pid_of(embedder) != first
    assert not is_running(first)


async def test_a_caller_that_leaves_takes_its_text_back(model_directory: Path) -> None:
    async with started(model_directory) as embedder:
        leaving = asyncio.create_task(embedder.embed([f"{n} {LONG}" for n in range(64)]))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.wait([leaving])
        # Within a query's time, though 64 long texts take as long.
        await embedder.embed(["a query"])


async def test_no_text_reaches_the_log(
    model_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with started(model_directory) as embedder:
        await embedder.embed(["confidential"])
        os.kill(pid_of(embedder), signal.SIGKILL)
        await embedder.embed(["confidential too"])
    assert "is ready" in caplog.text
    assert "status -9" in caplog.text
    assert "confidential" not in caplog.text


async def test_a_model_that_is_broken_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    embedder = local_embedder(tmp_path)
    embedder.start()
    async with asyncio.timeout(20):
        while embedder.health().works:  # noqa: ASYNC110 - the embedder changes it
            await asyncio.sleep(0.01)
    assert "it cannot be loaded" in embedder.health().problem
    await embedder.close()


@pytest.mark.parametrize(
    ("model", "words"),
    [("/nowhere/model", "is no directory"), ("not a name", "neither a directory nor a model's")],
)
async def test_a_model_that_is_not_there_is_told(model: str, words: str) -> None:
    embedder = local_embedder(model)
    embedder.start()
    async with asyncio.timeout(20):
        while embedder.health().works:  # noqa: ASYNC110 - the embedder changes it
            await asyncio.sleep(0.01)
    assert words in embedder.health().problem
    with pytest.raises(EmbedderUnavailableError, match=words):
        await embedder.embed(["a text"])
    await embedder.close()
