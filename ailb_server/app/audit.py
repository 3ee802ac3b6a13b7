"""The audit log, put together."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.access.audit_queue import AuditQueue
from ailb_server.access.refusals import Refusals
from ailb_server.domain.audit import AuditLog
from ailb_server.settings import Settings
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.pool import Store
from ailb_server.telemetry.audit_metrics import AuditMetrics
from ailb_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class OpenAudit:
    """`log` is for whoever tells what was done; `rows` for stores, within their transactions."""

    log: AuditLog
    rows: PostgresAuditLog
    refusals: Refusals


def open_audit(
    settings: Settings, store: Store, metrics: Metrics, closing: AsyncExitStack
) -> OpenAudit:
    """Begins to write, within a running loop; `closing` writes what waits before the store ends."""
    rows = PostgresAuditLog(store, settings.module_id)
    observer = AuditMetrics(metrics.registry)
    queue = AuditQueue(rows, observer)
    observer.watch(lambda: queue.waiting)
    queue.start()
    closing.push_async_callback(queue.close)
    return OpenAudit(queue, rows, Refusals(queue, metrics.key_refused))
