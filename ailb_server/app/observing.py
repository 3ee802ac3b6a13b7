"""What is watched of one instance: traces, the access log, and what metrics ask for."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from ailb_server.api.call_watch import CallWatch
from ailb_server.app.version import VERSION
from ailb_server.pipeline.access_log import AccessLog
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.settings import Settings
from ailb_server.storage.pool import Store
from ailb_server.telemetry import logs
from ailb_server.telemetry.instance_metrics import BREAKER_VALUES
from ailb_server.telemetry.instruments import Readings
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.tracing import Tracer

_CLOSE_S = 6.0


class TracingError(RuntimeError):
    """Traces are configured, and cannot be made."""


@dataclass(frozen=True, slots=True)
class Observing:
    """`watch` is for the edge, `access_log` for the pipeline of callers, and `tracer` is None
    without a collector."""

    tracer: Tracer | None
    watch: CallWatch
    access_log: AccessLog


def open_observing(settings: Settings, metrics: Metrics, closing: AsyncExitStack) -> Observing:
    """Within a running loop. Raises TracingError."""
    metrics.loop_lag.start()
    closing.callback(metrics.loop_lag.stop)
    logging = logs.current()
    if logging is not None:
        metrics.instance.watch("ailb_log_lines_lost_total", logging.lost)
    tracer = _tracer(settings, metrics, closing)
    access_log = AccessLog(settings.access_log_sample)

    def authenticated(seconds: float) -> None:
        metrics.requests.phases({"auth": seconds})

    return Observing(tracer, CallWatch(tracer, access_log, authenticated), access_log)


def follow_weight(metrics: Metrics, weight: Callable[[], int], closing: AsyncExitStack) -> None:
    """What this instance asks of its load balancer, in metrics, traces and logs from now on."""
    metrics.instance.follow_weight(weight)
    logging = logs.current()
    if logging is not None:
        logging.follow("weight", weight)
        closing.callback(logging.unfollow, "weight")


def watch_store(metrics: Metrics, store: Store) -> None:
    """How many connections to Postgres are used, and who waits for one."""

    def connections() -> Readings:
        use = store.use()
        return [(("used",), use.used), (("idle",), use.idle)]

    metrics.instance.watch("ailb_store_connections", connections)
    metrics.instance.watch_one("ailb_store_waiting_requests", lambda: store.use().waiting)


def watch_routing(metrics: Metrics, ledger: Ledger, dispatcher: Dispatcher) -> None:
    """How the targets stand; those that have labels of their own."""

    def breakers() -> Readings:
        now = ledger.clock()
        return [
            (target, BREAKER_VALUES[state.breaker_state(now).value])
            for target, state in ledger.states()
            if metrics.requests.has_labels(target)
        ]

    def attempts() -> Readings:
        return [
            (target, state.in_flight)
            for target, state in ledger.states()
            if metrics.requests.has_labels(target)
        ]

    metrics.instance.watch("ailb_target_breaker_state", breakers)
    metrics.instance.watch("ailb_target_active_attempts", attempts)
    metrics.instance.watch_one("ailb_rate_limit_waiting_requests", lambda: dispatcher.waiting)


def _tracer(settings: Settings, metrics: Metrics, closing: AsyncExitStack) -> Tracer | None:
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        return None
    try:
        # A tenth of a second and 5 MB, which only those who trace should pay.
        from ailb_server.telemetry.otel import Collector, OtelTracing  # noqa: PLC0415
    except ImportError as error:
        raise TracingError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: needs the packages of `ailb-server[otel]`."
        ) from error
    resource = {
        "service.name": settings.otel_service_name,
        "service.version": VERSION,
        "service.instance.id": settings.module_id,
    }
    address = str(endpoint).rstrip("/")
    collector = Collector(address, settings.otel_traces_sampler_arg, resource)
    tracing = OtelTracing(collector, weight=metrics.instance.weight)
    metrics.instance.watch_one("ailb_spans_lost_total", tracing.lost)
    closing.push_async_callback(_closed, tracing)
    return tracing


class _Closes(Protocol):
    def close(self) -> None: ...


async def _closed(tracing: _Closes) -> None:
    """Sends what waits; an end is not held up by a collector that is away."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        try:
            tracing.close()
        finally:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

    # Not of the loop's threads, whose end it would wait for.
    threading.Thread(target=close, name="traces", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await done.wait()
