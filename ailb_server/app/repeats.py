"""The response cache and Idempotency-Keys, put together."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.app.tasks import ended
from ailb_server.domain.admission import Readmission
from ailb_server.pipeline.caching import CacheRules, CacheStage, NoCache, ResponseCache
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.holding import HoldingRules
from ailb_server.pipeline.once import OnceOnly
from ailb_server.pipeline.once_sweeping import sweep_for_ever
from ailb_server.routing.router import Router
from ailb_server.settings import Settings
from ailb_server.storage.answer_cache import InMemoryAnswerCache
from ailb_server.storage.idempotency import PostgresOnceStore
from ailb_server.storage.pool import Store
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.repeat_metrics import RepeatMetrics

_KIB = 1024
_MIB = 1024 * 1024
# Of the whole cache, what one answer may take: one must not drive out all others.
_SHARE = 8
_MAX_CACHED = 4 * _MIB
# So many renewals may fail before a lease ends.
_RENEWALS = 3


@dataclass(frozen=True, slots=True)
class OpenRepeats:
    """`cache` is for the pipeline."""

    cache: ResponseCache
    metrics: RepeatMetrics
    store: PostgresOnceStore
    rules: HoldingRules

    def once(self, pipeline: ChatPipeline, admission: Readmission) -> OnceOnly:
        """The pipeline that heeds Idempotency-Keys."""
        return OnceOnly(pipeline, admission, self.store, self.metrics, self.rules)


def open_repeats(
    settings: Settings,
    store: Store,
    router: Router,
    metrics: Metrics,
    closing: AsyncExitStack,
) -> OpenRepeats:
    """Begins the task that removes old answers, within a running loop; `closing` ends it."""
    once = PostgresOnceStore(store, settings.idempotency_lease_s)
    sweeping = asyncio.create_task(sweep_for_ever(once))
    closing.push_async_callback(ended, sweeping)
    rules = HoldingRules(
        renew_every_s=settings.idempotency_lease_s / _RENEWALS,
        max_answer_bytes=settings.idempotency_max_answer_kb * _KIB,
    )
    observer = RepeatMetrics(metrics.registry)
    return OpenRepeats(_cache(settings, router, observer), observer, once, rules)


def _cache(settings: Settings, router: Router, metrics: RepeatMetrics) -> ResponseCache:
    max_bytes = settings.response_cache_max_mb * _MIB
    if not max_bytes:
        return NoCache()

    cache = InMemoryAnswerCache(settings.response_cache_max_entries, max_bytes)
    metrics.watch(lambda: cache.entries, lambda: cache.size)
    largest = min(_MAX_CACHED, max_bytes // _SHARE)
    rules = CacheRules(settings.response_cache_ttl_s, largest)
    return CacheStage(cache, router.destinations, metrics, rules)
