"""Sends files to a running AILB and follows their import. Imports gRPC only once it is called."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ailb_server.cli.connection import Metadata
from ailb_server.cli.rag_files import FoundFile

if TYPE_CHECKING:
    import grpc

    from ailb.v1.knowledge_pb2 import DocumentInput, Import
    from ailb.v1.knowledge_service_pb2_grpc import KnowledgeServiceStub

Q = TypeVar("Q")
A = TypeVar("A")

_TIMEOUT_S = 120.0
_PAGE = 200
_MAX_FILE_BYTES = 32 * 1024 * 1024
# As much as one import takes: its failures are then all told, and an interruption loses little.
_BATCH_FILES = 100
_BATCH_BYTES = 4 * 1024 * 1024
_RUNNING = 4
_POLL_S = 0.2
_LONGEST_WAIT_S = 10.0
# A server that restarts is waited for; one that is gone is not.
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Tally:
    """How the documents fared. `told` is called for each change with how many more are done, and
    `complain` with a document and what is wrong with it."""

    told: Callable[[int], None]
    complain: Callable[[str, str], None]
    imported: int = 0
    unchanged: int = 0
    failed: int = 0
    empty: int = 0
    passages: int = 0
    sent: int = 0

    def fail(self, name: str, reason: str) -> None:
        """One document that could not be imported."""
        self.failed += 1
        self.complain(name, reason)
        self.told(1)


@dataclass(slots=True)
class _Job:
    id: str
    done: int = 0
    failures: int = 0
    counted: tuple[int, int, int] = (0, 0, 0)


@dataclass(slots=True)
class Upload:
    """One run of `ailb rag import` into `collection`."""

    service: "KnowledgeServiceStub"
    metadata: Metadata
    collection: str
    tally: Tally
    source_prefix: str = ""
    _jobs: list[_Job] = field(default_factory=list)
    _batch: "list[DocumentInput]" = field(default_factory=list)
    _bytes: int = 0

    def run(self, files: Iterable[FoundFile]) -> None:
        """Returns once every file is imported, unchanged or failed. What the server has already,
        with the same content, is not sent."""
        known = self._known()
        for file in files:
            self._take(file, known)
        self._send()
        self._follow(down_to=0)

    def _known(self) -> Mapping[str, tuple[str, str]]:
        """The SHA-256 and source of each document that the collection has."""
        from ailb.v1 import knowledge_service_pb2 as pb

        known: dict[str, tuple[str, str]] = {}
        token = ""
        while True:
            request = pb.ListDocumentsRequest(
                collection=self.collection, page_size=_PAGE, page_token=token
            )
            page = self._call(self.service.ListDocuments, request)
            known.update((d.id, (d.sha256, d.source)) for d in page.documents)
            token = page.next_page_token
            if not token:
                return known

    def _take(self, file: FoundFile, known: Mapping[str, tuple[str, str]]) -> None:
        from ailb.v1.knowledge_pb2 import DocumentInput

        try:
            content = file.path.read_bytes()
        except OSError as error:
            self.tally.fail(str(file.path), error.strerror or "cannot be read")
            return
        if len(content) > _MAX_FILE_BYTES:
            self.tally.fail(str(file.path), f"is larger than {_MAX_FILE_BYTES >> 20} MiB")
            return
        source = self.source_prefix + file.id
        if not content:
            self.tally.empty += 1
            self.tally.told(1)
        elif known.get(file.id) == (hashlib.sha256(content).hexdigest(), source):
            self.tally.unchanged += 1
            self.tally.told(1)
        else:
            if self._batch and self._bytes + len(content) > _BATCH_BYTES:
                self._send()
            self._bytes += len(content)
            self._batch.append(
                DocumentInput(
                    id=file.id, source=source, content=content, content_type=file.content_type
                )
            )
            if len(self._batch) == _BATCH_FILES:
                self._send()

    def _send(self) -> None:
        from ailb.v1 import knowledge_service_pb2 as pb

        if not self._batch:
            return
        self._follow(down_to=_RUNNING - 1)
        request = pb.ImportDocumentsRequest(collection=self.collection, documents=self._batch)
        answer = self._call(self.service.ImportDocuments, request)
        self.tally.sent += len(self._batch)
        self._batch, self._bytes = [], 0
        told = answer.job
        self._jobs.append(_Job(told.id))
        self._count(self._jobs[-1], told)

    def _follow(self, *, down_to: int) -> None:
        """Waits until at most so many imports still run."""
        from ailb.v1 import knowledge_service_pb2 as pb
        from ailb.v1.knowledge_pb2 import IMPORT_STATE_FINISHED

        while len(self._jobs) > down_to:
            for job in tuple(self._jobs):
                request = pb.GetImportRequest(import_id=job.id)
                answer = self._call(self.service.GetImport, request)
                told = answer.job
                self._count(job, told)
                if told.state == IMPORT_STATE_FINISHED:
                    self._jobs.remove(job)
            if len(self._jobs) > down_to:
                time.sleep(_POLL_S)

    def _count(self, job: _Job, told: "Import") -> None:
        now = (told.imported, told.unchanged, told.passages)
        imported, unchanged, passages = (b - a for a, b in zip(job.counted, now, strict=True))
        self.tally.imported += imported
        self.tally.unchanged += unchanged
        self.tally.passages += passages
        job.counted = now
        self.tally.told(imported + unchanged)
        for failure in told.failures[job.failures :]:
            self.tally.fail(failure.document_id, failure.reason)
        job.failures = len(told.failures)

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[Q, A]", request: Q) -> A:
        """The answer; asked again while the server is overloaded, or away for a moment."""
        import grpc

        away_since: float | None = None
        while True:
            try:
                return method(request, timeout=_TIMEOUT_S, metadata=self.metadata)
            except grpc.RpcError as error:
                now = time.monotonic()
                wait_s = _wait_s(error)
                if wait_s is None:
                    raise
                if not _is_overload(error):
                    away_since = now if away_since is None else away_since
                    if now - away_since > _PATIENCE_S:
                        raise
            time.sleep(wait_s)


def _is_overload(error: "grpc.RpcError") -> bool:
    import grpc

    return bool(_code(error) is grpc.StatusCode.RESOURCE_EXHAUSTED)


def _wait_s(error: "grpc.RpcError") -> float | None:
    """None for an error that another try meets again."""
    import grpc

    if _code(error) not in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}:
        return None
    trailing = getattr(error, "trailing_metadata", None)
    told = dict(trailing() or ()) if callable(trailing) else {}
    if "retry-after" not in told and _is_overload(error):
        # Not AILB's: the message itself is too large for something on the way.
        return None
    try:
        return min(float(told.get("retry-after", 1)), _LONGEST_WAIT_S)
    except ValueError:
        return 1.0


def _code(error: "grpc.RpcError") -> object:
    # A call's error is the call too, which the type does not say.
    code = getattr(error, "code", None)
    return code() if callable(code) else None
