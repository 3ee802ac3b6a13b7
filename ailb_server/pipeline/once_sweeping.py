"""Removes answers to Idempotency-Keys whose time is over."""

import asyncio
import logging

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.repeats import OnceStore

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1


async def sweep_for_ever(store: OnceStore, every_s: float = 60.0) -> None:
    """Batch by batch, at intervals. Every instance does: a batch skips what another removes."""
    while True:
        try:
            more = await store.sweep()
        except StorageUnavailableError:
            # The next turn comes.
            more = False
        except Exception as error:  # noqa: BLE001 - this task must not end for good
            _log.error("idempotency: old answers stay: %s", type(error).__qualname__)
            more = False
        # Others' statements come first.
        await asyncio.sleep(_PAUSE_S if more else every_s)
