"""Keeps asking the providers what they serve."""

import asyncio
import contextlib
import logging

from ailb_server.app.tasks import ended
from ailb_server.routing.catalogue import Catalogue

# How long a start waits for the providers' listings before it serves what it knows.
_FIRST_LISTING_S = 2.0
# A provider that has told nothing yet is asked again after twice that, and twice again.
_FIRST_AGAIN_S = 0.25
# However much a listing is in doubt, it is not asked for more often.
_LEAST_REFRESH_S = 1.0

_log = logging.getLogger(__name__)


async def keep_fresh(
    catalogue: Catalogue, every_s: float, closing: contextlib.AsyncExitStack
) -> None:
    """Returns once all have answered, or soon; `closing` ends the asking."""
    first = asyncio.Event()
    task = asyncio.create_task(_refresh_for_ever(catalogue, every_s, first))
    closing.push_async_callback(ended, task)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(first.wait(), _FIRST_LISTING_S)


async def _refresh_for_ever(catalogue: Catalogue, every_s: float, first: asyncio.Event) -> None:
    again_s = _FIRST_AGAIN_S
    while True:
        try:
            await catalogue.refresh()
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the refreshing for good, nor pass unseen.
            _log.exception("the providers' models could not be refreshed")
        first.set()
        if catalogue.table.unlisted:
            again_s = min(again_s * 2, every_s)
            await asyncio.sleep(again_s)
        else:
            await _doubted(catalogue, every_s)


async def _doubted(catalogue: Catalogue, within_s: float) -> None:
    """Returns once a listing is in doubt, though not at once: every request may doubt it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await asyncio.sleep(_LEAST_REFRESH_S)
            await catalogue.doubted.wait()
