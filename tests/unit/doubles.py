"""Doubles of the core's ports: a provider that does what it is told, a context, an observer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, JsonObject, TokenUsage
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.pipeline.record import ChatRecord


def chat(model: str = "m", *, stream: bool = False, **fields: Json) -> ChatRequest:
    """A request as the API would have parsed it."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatRequest(model, stream, include_usage=False, body=orjson.dumps(body), fields=body)


def chunk(text: str = "x", usage: TokenUsage | None = None, **fields: Json) -> ChatChunk:
    """A stream's chunk with one choice that says `text`."""
    event: JsonObject = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}], **fields}
    return ChatChunk((event,), b"data: " + orjson.dumps(event) + b"\n\n", usage)


@dataclass
class FakeProvider:
    """Answers every request alike: `refusal` before anything, else `says`, where an exception is
    raised in its turn, a number waits as many seconds, and None waits for ever.

    The first requests get `refusals` instead, one each.
    """

    name: str = "p"
    says: Sequence[ChatChunk | Exception | float | None] = ()
    refusal: Exception | None = None
    models: Sequence[str] | Exception | None = None
    ignored: tuple[str, ...] = ()
    refusals: Sequence[Exception] = ()
    log: list[str] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self, request: ChatRequest, model: str) -> AsyncIterator[ProviderAnswer]:
        self.log.append(f"{self.name} open {model}")
        if self.refusals:
            refusal, *self.refusals = self.refusals
            raise refusal
        if self.refusal is not None:
            raise self.refusal
        try:
            async with aclosing(self._answer()) as chunks:
                yield ProviderAnswer(chunks, self.ignored)
        finally:
            self.log.append(f"{self.name} closed")

    async def list_models(self) -> Sequence[str] | None:
        if isinstance(self.models, Exception):
            raise self.models
        return self.models

    async def _answer(self) -> AsyncGenerator[ChatChunk, None]:
        for said in self.says:
            if said is None:
                self.waiting.set()
                await asyncio.Event().wait()
            elif isinstance(said, Exception):
                raise said
            elif isinstance(said, float):
                await asyncio.sleep(said)
            else:
                yield said


@dataclass
class Observer:
    """Keeps what it is told."""

    started: int = 0
    answered: list[ChatRecord] = field(default_factory=list)
    records: list[ChatRecord] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def chat_started(self, record: ChatRecord) -> None:
        self.started += 1

    def chat_answered(self, record: ChatRecord) -> None:
        self.answered.append(record)

    def chat_finished(self, record: ChatRecord) -> None:
        self.records.append(record)
        self.finished.set()


@dataclass
class FakeContext:
    """The part of `grpc.aio.ServicerContext` that servicers use."""

    metadata: Sequence[tuple[str, str]] = ()
    initial: dict[str, str] = field(default_factory=dict)
    written: list[Any] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    details: str = ""
    trailing: dict[str, Any] = field(default_factory=dict)

    time_left_s: float | None = None
    caller: str = "ipv4:192.0.2.7:5000"

    def peer(self) -> str:
        return self.caller

    def time_remaining(self) -> float | None:
        return self.time_left_s

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self.metadata

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        assert not self.initial
        self.initial = dict(metadata)

    async def write(self, message: object) -> None:
        self.written.append(message)

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, Any]]
    ) -> None:
        self.code, self.details, self.trailing = code, details, dict(trailing)
        raise grpc.aio.AbortError

    @property
    def error_info(self) -> ErrorInfo:
        """The ErrorInfo of the status that the call was aborted with."""
        status = Status.FromString(self.trailing["grpc-status-details-bin"])
        info = ErrorInfo()
        assert status.details[0].Unpack(info)
        return info
