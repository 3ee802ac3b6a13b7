"""Rows of the usage ledger, read: sums, and the rows themselves in order."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime

from ailb_server.domain.usage import Dimension, UsageFilter, UsagePage, UsageSum
from ailb_server.storage.connection import Row
from ailb_server.storage.pool import Store

# As a view would have it, but with the tenant's and the key's names looked up after the sums.
_MODEL = "COALESCE(NULLIF(u.model_sent, ''), u.model_asked)"
_GROUPS: Mapping[Dimension, str] = {
    Dimension.DAY: "(u.at AT TIME ZONE 'UTC')::date",
    Dimension.TENANT: "u.tenant_id",
    Dimension.KEY: "u.key_id",
    Dimension.PROVIDER: "u.provider",
    Dimension.MODEL: _MODEL,
    Dimension.OUTCOME: "u.outcome",
}
_TYPES: Mapping[Dimension, str] = {
    Dimension.DAY: "date",
    Dimension.TENANT: "integer",
    Dimension.KEY: "integer",
    Dimension.PROVIDER: "text",
    Dimension.MODEL: "text",
    Dimension.OUTCOME: "text",
}
_SUMS = """
  count(*) AS requests,
  count(*) FILTER (WHERE u.outcome NOT IN ('ok', 'cancelled')) AS failed,
  count(*) FILTER (WHERE u.outcome = 'cancelled') AS cancelled,
  COALESCE(sum(u.prompt_tokens), 0)::bigint AS prompt_tokens,
  COALESCE(sum(u.cached_tokens), 0)::bigint AS cached_tokens,
  COALESCE(sum(u.cache_write_tokens), 0)::bigint AS cache_write_tokens,
  COALESCE(sum(u.completion_tokens), 0)::bigint AS completion_tokens,
  COALESCE(sum(u.reasoning_tokens), 0)::bigint AS reasoning_tokens,
  COALESCE(sum(u.cost_micro_dollars), 0)::bigint AS cost_micro_dollars,
  count(*) FILTER (WHERE u.prompt_tokens IS NOT NULL AND u.cost_micro_dollars IS NULL) AS unpriced,
  count(*) FILTER (WHERE u.estimated) AS estimated,
  avg(u.latency_ms) FILTER (WHERE u.outcome = 'ok' AND u.served_from IS NULL) AS latency_ms,
  avg(u.first_token_ms) FILTER (WHERE u.served_from IS NULL) AS first_token_ms"""
_TENANT_NAMED = "u.tenant_id = (SELECT id FROM tenants WHERE name = {})"
_SESSION = "u.session_id = {}"
_ROWS = """
SELECT u.at, u.id::text AS id, t.name AS tenant, u.key_id, k.name AS key_name, u.request_id,
       u.session_id, u.operation, u.streamed, u.provider, u.model_asked, u.model_sent,
       u.model_answered, u.prompt_tokens, u.cached_tokens, u.cache_write_tokens,
       u.completion_tokens, u.reasoning_tokens, u.estimated, u.cost_micro_dollars, u.latency_ms,
       u.first_token_ms, u.outcome, u.finish_reason, u.instance, u.served_from
  FROM (SELECT * FROM usage_ledger u WHERE {where} ORDER BY u.at, u.id LIMIT {limit}) u
  LEFT JOIN tenants t ON t.id = u.tenant_id
  LEFT JOIN api_keys k ON k.id = u.key_id
 ORDER BY u.at, u.id
"""
PAGE_ROWS = 1000


class PostgresUsageQueries:
    """See `api.usage_service.UsageReader`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sums(
        self, which: UsageFilter, by: Sequence[Dimension], offset: int, limit: int
    ) -> UsagePage:
        """One statement. Raises StorageUnavailableError."""
        where, values = _where(which)
        query = _sums_query(where, by, len(values))
        async with self._store.connection() as connection:
            rows = await connection.fetch(query, *values, offset, limit + 1)
        total = next(_sum(row) for row in rows if row["is_total"])
        sums = [_sum(row) for row in rows if not row["is_total"]]
        return UsagePage(sums[:limit], total, len(sums) > limit)

    async def rows(self, which: UsageFilter) -> AsyncGenerator[Sequence[Row], None]:
        """All of them, oldest first, in pages of `PAGE_ROWS`: no connection is held in between.

        Raises StorageUnavailableError.
        """
        after: tuple[datetime, str] | None = None
        where, values = _where(which)
        while True:
            beyond = "" if after is None else f" AND (u.at, u.id) > ({_dollars(values, 2)})"
            query = _ROWS.format(where=where + beyond, limit=PAGE_ROWS)
            async with self._store.connection() as connection:
                page = await connection.fetch(query, *values, *(after or ()))
            if page:
                yield page
            if len(page) < PAGE_ROWS:
                return
            after = page[-1]["at"], page[-1]["id"]


def _where(which: UsageFilter) -> tuple[str, list[object]]:
    """Only texts of ours; what callers say are the values."""
    values: list[object] = [which.start, which.end]
    parts = ["u.at >= $1", "u.at < $2"]
    if which.without_key:
        parts.append("u.key_id IS NULL")
    narrowing: tuple[tuple[str, object], ...] = (
        ("u.tenant_id = {}", which.tenant_id),
        (_TENANT_NAMED, which.tenant or None),
        ("u.key_id = {}", which.key_id),
        ("u.provider = {}", which.provider or None),
        (_MODEL + " = {}", which.model or None),
        (_SESSION, which.session_id or None),
        ("u.request_id = {}", which.request_id or None),
    )
    for text, value in narrowing:
        if value is not None:
            values.append(value)
            parts.append(text.format(f"${len(values)}"))
    return " AND ".join(parts), values


def _dollars(values: Sequence[object], count: int) -> str:
    return ", ".join(f"${len(values) + n + 1}" for n in range(count))


def _sums_query(where: str, by: Sequence[Dimension], taken: int) -> str:
    groups = [_GROUPS[dimension] for dimension in by]
    named = [
        f"{_GROUPS[d] if d in by else 'NULL::' + _TYPES[d]} AS {d.value}_group" for d in Dimension
    ]
    order = ["day_group"] if Dimension.DAY in by else []
    order += ["cost_micro_dollars DESC", "requests DESC"]
    order += [f"{d.value}_group" for d in by if d is not Dimension.DAY]
    sets = f"GROUPING SETS (({', '.join(groups)}), ())" if groups else "()"
    total = f"GROUPING({', '.join(groups)}) <> 0" if groups else "true"
    return f"""
WITH sums AS (
  SELECT {", ".join(named)}, {total} AS is_total, {_SUMS}
    FROM usage_ledger u WHERE {where} GROUP BY {sets}),
page AS (
  (SELECT * FROM sums WHERE NOT is_total ORDER BY {", ".join(order)}
    OFFSET ${taken + 1} LIMIT ${taken + 2})
  UNION ALL SELECT * FROM sums WHERE is_total)
SELECT p.*, t.name AS tenant, k.name AS key_name FROM page p
  LEFT JOIN tenants t ON t.id = p.tenant_group
  LEFT JOIN api_keys k ON k.id = p.key_group
 ORDER BY is_total, {", ".join(order)}
"""  # noqa: S608 - texts of ours


def _sum(row: Row) -> UsageSum:
    day = row["day_group"]
    return UsageSum(
        day="" if day is None else day.isoformat(),
        tenant=row["tenant"] or "",
        key_id=row["key_group"],
        key_name=row["key_name"] or "",
        provider=row["provider_group"] or "",
        model=row["model_group"] or "",
        outcome=row["outcome_group"] or "",
        requests=row["requests"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        completion_tokens=row["completion_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        cost_micro_dollars=row["cost_micro_dollars"],
        unpriced=row["unpriced"],
        estimated=row["estimated"],
        latency_ms=row["latency_ms"],
        first_token_ms=row["first_token_ms"],
    )
