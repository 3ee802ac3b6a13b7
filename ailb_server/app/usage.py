"""The usage ledger, put together."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ailb_server.api.usage_service import UsageService
from ailb_server.domain.health import PartHealth
from ailb_server.pipeline.accounting import Accounting
from ailb_server.settings import Settings
from ailb_server.settings.data_directory import data_directory
from ailb_server.spend.ledger import UsageLedger
from ailb_server.storage.pool import Store
from ailb_server.storage.usage_journal import JournalError, UsageJournal
from ailb_server.storage.usage_queries import PostgresUsageQueries
from ailb_server.storage.usage_rows import PostgresUsageRows
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.usage_metrics import UsageMetrics

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenUsage:
    """`callers` is told of callers' chats, `own` of AILB's own ones."""

    callers: Accounting
    own: Accounting
    service: UsageService
    ledger: UsageLedger

    def health(self) -> PartHealth:
        """As `/healthz` tells it."""
        return PartHealth("usage", self.ledger.problem)


async def open_usage(
    settings: Settings, store: Store, metrics: Metrics, closing: AsyncExitStack
) -> OpenUsage:
    """`store` is open; `closing` stores what waits before the store closes. Raises JournalError."""
    rows = PostgresUsageRows(store)
    # By the ledger's name: what is journalled for one database must not end in another.
    directory = journal_directory(settings) / await rows.identity()
    journal = UsageJournal(directory, settings.module_id, settings.usage_journal_max_mb * _MIB)
    observer = UsageMetrics(metrics.registry)
    observer.watch(lambda: journal.waiting_bytes)
    ledger = UsageLedger(journal, rows, observer)
    ledger.start()
    closing.push_async_callback(ledger.close)
    return OpenUsage(
        callers=Accounting(ledger, settings.module_id),
        own=Accounting(ledger, settings.module_id, own=True),
        service=UsageService(PostgresUsageQueries(store)),
        ledger=ledger,
    )


def journal_directory(settings: Settings) -> Path:
    """USAGE_JOURNAL_DIR, or a directory in AILB_DATA_DIR. Raises JournalError."""
    try:
        return (settings.usage_journal_dir or data_directory(settings) / "usage").expanduser()
    except RuntimeError as error:
        raise JournalError(
            "USAGE_JOURNAL_DIR: is needed where there is no home directory."
        ) from error
