"""Who is told how embedding goes."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

from ailb_server.domain.errors import EmbedderUnavailableError

Lane: TypeAlias = Literal["query", "bulk"]


class EmbeddingObserver(Protocol):
    """Metrics. Every label is of a closed set."""

    def embedded(self, lane: Lane, outcome: str, seconds: float) -> None:
        """A call's end; `outcome` is `ok`, `unavailable`, `cancelled` or `error`."""
        ...

    def texts(self, lane: Lane, cached: int, computed: int) -> None:
        """Texts whose vectors were at hand, and those that the model was asked for."""
        ...

    def waiting(self, lane: Lane, texts: int) -> None:
        """Texts that are asked for and have no vector yet."""
        ...


@contextmanager
def observed(observer: EmbeddingObserver, lane: Lane) -> Iterator[None]:
    """Tells how a call ends."""
    started, outcome = time.perf_counter(), "error"
    try:
        yield
        outcome = "ok"
    except EmbedderUnavailableError:
        outcome = "unavailable"
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "cancelled"
        raise
    finally:
        observer.embedded(lane, outcome, time.perf_counter() - started)
