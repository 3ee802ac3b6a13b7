"""Rows of the usage ledger, for tests."""

import itertools
from datetime import UTC, datetime
from typing import Any

from ailb_server.domain.usage import UsageEntry

_numbers = itertools.count(1)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def entry(at: datetime = NOON, **fields: Any) -> UsageEntry:
    """A row with an id of its own."""
    number = next(_numbers)
    told = {
        "tenant_id": 1,
        "request_id": f"r-{number}",
        "provider": "openai",
        "model_asked": "gpt",
        "model_sent": "gpt-x",
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 0,
        "completion_tokens": 5,
        "reasoning_tokens": 2,
        "cost_micro_dollars": 60,
        "latency_ms": 12.5,
        "instance": "ailb-1",
        **fields,
    }
    return UsageEntry(f"{number:032x}", at.isoformat(), **told)
