"""Partitions by month of the logs, kept while the instance runs."""

import asyncio
import logging
from contextlib import AsyncExitStack

from ailb_server.app.tasks import ended
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.settings import Settings
from ailb_server.storage.months import PostgresMonths
from ailb_server.storage.pool import Store

_EVERY_S = 3600.0
_AGAIN_S = 60.0

_log = logging.getLogger(__name__)


def keep_months(settings: Settings, store: Store, closing: AsyncExitStack) -> None:
    """Makes months ahead and drops old ones, every hour; `closing` ends it before the store."""
    kept = {
        "usage_ledger": settings.usage_retention_months,
        "audit_log": settings.audit_retention_months,
    }
    months = PostgresMonths(store, kept, settings.module_id)
    closing.push_async_callback(ended, asyncio.create_task(_keep_for_ever(months)))


async def _keep_for_ever(months: PostgresMonths) -> None:
    while True:
        done = await _kept(months)
        await asyncio.sleep(_EVERY_S if done else _AGAIN_S)


async def _kept(months: PostgresMonths) -> bool:
    try:
        await months.make_ahead()
        for name in await months.drop_old():
            _log.info("dropped %s: all of it is older than what is to be kept", name)
    except StorageUnavailableError:
        return False
    except Exception:  # noqa: BLE001
        # Rows go into months that are there already; the next hour comes.
        _log.exception("months could not be made ahead or dropped")
    return True
