"""The embedding worker: `python -m ailb_server.embedding.worker --socket FD --model MODEL`.

Encodes texts that come over the inherited socket, and ends with it, so also when the gateway is
killed. What it prints goes to the gateway's log, and is never a text.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ailb_server.embedding.batching import BatchQueue, Waiting
from ailb_server.embedding.encoder import Encoder, unit
from ailb_server.embedding.frames import (
    Ask,
    Embedded,
    Frame,
    FrameError,
    Tell,
    packed,
    packed_state,
    packed_vector,
    read_frame,
)
from ailb_server.embedding.loading import ModelSpec, load
from ailb_server.embedding.model_files import ModelError

# Below every chat: the kernel gives it what the gateway leaves.
NICENESS = 10
# Prose has far fewer; cutting here first bounds the tokenizer's work.
_CHARACTERS_PER_TOKEN = 32
_DETAIL_CHARACTERS = 300

_log = logging.getLogger("worker")


class Worker:
    """Serves one gateway over one socket."""

    def __init__(self, spec: ModelSpec, connection: socket.socket) -> None:
        self._spec = spec
        self._connection = connection
        self._queue = BatchQueue()
        self._arrived = asyncio.Event()
        self._encoder: Encoder | None = None
        # One thread, for a model is not safe in several, and the reading goes on beside it.
        self._compute = ThreadPoolExecutor(1, "model")

    async def run(self) -> int:
        """The exit status if the model cannot be loaded. Otherwise it ends with the process."""
        reader, writer = await asyncio.open_unix_connection(sock=self._connection)
        reading = asyncio.create_task(self._read(reader, writer))
        writer.write(packed_state(state="loading"))
        try:
            runtime, encoder, dimension = await self._loaded(writer)
        except Exception as error:  # noqa: BLE001
            # There is no caller's text yet that it could quote.
            told = (
                str(error) if isinstance(error, ModelError) else f"it cannot be loaded: {error!r}"
            )
            writer.write(packed_state(state="failed", detail=told[:_DETAIL_CHARACTERS]))
            await writer.drain()
            reading.cancel()
            return 1
        self._encoder = encoder
        writer.write(packed_state(state="ready", runtime=runtime, dimension=dimension))
        while True:
            await self._arrived.wait()
            await self._encode(encoder, writer)

    async def _loaded(self, writer: asyncio.StreamWriter) -> tuple[str, Encoder, int]:
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int) -> None:
            state = packed_state(state="downloading", done=done, total=total)
            loop.call_soon_threadsafe(writer.write, state)

        def warm() -> tuple[str, Encoder, int]:
            runtime, encoder = load(self._spec, progress)
            return runtime, encoder, encoder.encode(["warm"]).shape[1]

        return await loop.run_in_executor(self._compute, warm)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (frame := await read_frame(reader)) is not None:
                self._take(frame, writer)
        except FrameError as error:
            _log.error("the gateway sent %s", error)
        # The gateway is gone. Not by sys.exit: a download or a batch would be waited for.
        os._exit(0)

    def _take(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if self._encoder is None:
            writer.write(packed(frame.id, Tell.REFUSED, b"not loaded yet"))
        elif frame.kind == Ask.DROP:
            if self._queue.drop(frame.id):
                writer.write(packed(frame.id, Tell.REFUSED, b"dropped"))
        else:
            limit = self._encoder.max_tokens * _CHARACTERS_PER_TOKEN
            text = frame.payload.decode(errors="replace")[:limit]
            waiting = Waiting(frame.id, text, self._encoder.count(text))
            self._queue.add(waiting, Ask(frame.kind))
        if self._queue:
            self._arrived.set()

    async def _encode(self, encoder: Encoder, writer: asyncio.StreamWriter) -> None:
        batch = self._queue.take()
        if not self._queue:
            self._arrived.clear()
        if not batch:
            return
        texts = [item.text for item in batch]
        loop = asyncio.get_running_loop()
        try:
            vectors = unit(await loop.run_in_executor(self._compute, encoder.encode, texts))
        except Exception as error:  # noqa: BLE001
            # Its message may quote the text.
            _log.error("a batch failed: %s", type(error).__name__)
            reason = type(error).__name__.encode()
            writer.writelines(packed(item.id, Tell.REFUSED, reason) for item in batch)
            return
        writer.writelines(
            packed_vector(item.id, Embedded(vector, item.tokens))
            for item, vector in zip(batch, vectors, strict=True)
        )
        await writer.drain()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--revision")
    parser.add_argument("--runtime", default="auto", choices=("auto", "onnx", "torch"))
    given = parser.parse_args(arguments)
    os.nice(NICENESS)
    # Read by the packages when they are imported, which is later.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    spec = ModelSpec(given.model, given.revision, given.runtime)
    return asyncio.run(Worker(spec, socket.socket(fileno=given.socket)).run())


if __name__ == "__main__":
    sys.exit(main())
