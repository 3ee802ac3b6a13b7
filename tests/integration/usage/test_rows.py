"""Rows in a real Postgres: once each, in partitions, summed to the micro-dollar."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ailb_server.domain.usage import (
    Dimension,
    RowRefusedError,
    UsageEntry,
    UsageFilter,
    UsageSum,
)
from ailb_server.spend.ledger_line import line_of
from ailb_server.storage.months import PostgresMonths
from tests.integration.usage.conftest import Books
from tests.support.usage import NOON, entry

DAY = timedelta(days=1)
ALL = UsageFilter(NOON - 400 * DAY, NOON + 400 * DAY)


async def test_a_row_is_stored_as_it_is_and_once(books: Books) -> None:
    row = entry(key_id=9, session_id="s", first_token_ms=None, cost_micro_dollars=None)
    assert await books.add(row, entry()) == 2
    assert await books.add(row, entry()) == 1
    assert await books.add(row, row) == 0
    found = await books.fetch(
        "SELECT at, tenant_id, key_id, request_id, session_id, operation, streamed, model_sent,"
        " prompt_tokens, estimated, cost_micro_dollars, latency_ms, first_token_ms, outcome"
        " FROM usage_ledger"
        " WHERE request_id = $1",
        row.request_id,
    )
    assert found == [
        (NOON, 1, 9, row.request_id, "s", "chat", False, "gpt-x", 10, False, None, 12.5, None, "ok")
    ]


async def test_a_request_id_may_come_again(books: Books) -> None:
    assert await books.add(entry(request_id="same"), entry(request_id="same")) == 2


async def test_months_are_made_ahead_and_behind(books: Books) -> None:
    parts = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass"
    now = datetime.now(UTC)
    following = (now.replace(day=1) + 32 * DAY).replace(day=1)
    names = {(f"usage_ledger_{moment:%Y%m}",) for moment in (now, following)}
    assert set(await books.fetch(parts, "usage_ledger")) == names
    await PostgresMonths(books.store, {}, "test").make_ahead()
    assert set(await books.fetch(parts, "usage_ledger")) == names
    ages_ago = datetime(2020, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    assert await books.add(entry(ages_ago), entry(ages_ago + timedelta(microseconds=1))) == 2
    found = await books.fetch(
        "SELECT tableoid::regclass::text FROM usage_ledger WHERE at < '2021-01-01' ORDER BY at"
    )
    assert found == [("usage_ledger_202002",), ("usage_ledger_202003",)]
    indexes = await books.fetch(
        "SELECT count(*) FROM pg_index i WHERE i.indrelid = 'usage_ledger_202002'::regclass"
        " AND obj_description(i.indexrelid) ~ '^Serves '"
    )
    assert indexes == [(4,)]


async def test_a_month_can_be_dropped(books: Books) -> None:
    await books.add(entry(datetime(2020, 2, 1, tzinfo=UTC)), entry())
    await books.fetch("DROP TABLE usage_ledger_202002")
    assert await books.fetch("SELECT count(*) FROM usage_ledger") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        (b'"prompt_tokens":10', b'"prompt_tokens":99999999999999999999'),
        (b'"provider":"openai"', b'"provider":"\\u0000"'),
        (b'"provider":"openai"', b'"provider":null'),
        (b'"at":"2026', b'"at":"never'),
        (b'"streamed":false', b'"streamed":"perhaps"'),
    ],
)
async def test_what_no_column_takes_is_refused_with_its_batch(
    books: Books, change: tuple[bytes, bytes]
) -> None:
    good, bad = line_of(entry()), line_of(entry())
    assert change[0] in bad
    with pytest.raises(RowRefusedError, match=r"^\w+$"):
        await books.rows.add([good, bad.replace(*change)])
    assert await books.fetch("SELECT count(*) FROM usage_ledger") == [(0,)]


def chosen(chance: random.Random) -> UsageEntry:
    """A row of values that differ, with numbers whose sums are beyond what a float holds."""
    return entry(
        NOON - chance.randrange(60) * DAY,
        tenant_id=chance.choice((1, 2, None)),
        key_id=chance.choice((None, 3, 4)),
        provider=chance.choice(("openai", "anthropic")),
        model_sent=chance.choice(("", "a", "b")),
        outcome=chance.choice(("ok", "ok", "cancelled", "upstream_timeout")),
        prompt_tokens=chance.choice((None, 1, 2**40 + 1)),
        cost_micro_dollars=chance.choice((None, 1, 2**45 + 1)),
    )


def group_of(row: UsageEntry, by: Sequence[Dimension]) -> tuple[str, ...]:
    told = {
        Dimension.DAY: row.at[:10],
        Dimension.TENANT: {1: "default", 2: "acme", None: ""}[row.tenant_id],
        Dimension.KEY: str(row.key_id or ""),
        Dimension.PROVIDER: row.provider,
        Dimension.MODEL: row.model_sent or row.model_asked,
        Dimension.OUTCOME: row.outcome,
    }
    return tuple(told[dimension] for dimension in by)


def group_told(one: UsageSum, by: Sequence[Dimension]) -> tuple[str, ...]:
    told = {
        Dimension.DAY: one.day,
        Dimension.TENANT: one.tenant,
        Dimension.KEY: str(one.key_id or ""),
        Dimension.PROVIDER: one.provider,
        Dimension.MODEL: one.model,
        Dimension.OUTCOME: one.outcome,
    }
    return tuple(told[dimension] for dimension in by)


def figures(row: UsageEntry) -> tuple[int, ...]:
    unpriced = row.cost_micro_dollars is None and row.prompt_tokens is not None
    return 1, row.cost_micro_dollars or 0, row.prompt_tokens or 0, int(unpriced)


@pytest.mark.parametrize(
    "by",
    [(), (Dimension.DAY,), (Dimension.MODEL, Dimension.PROVIDER), tuple(Dimension)],
    ids=len,
)
async def test_sums_are_exact_by_whatever_they_are_told_apart(
    books: Books, by: tuple[Dimension, ...]
) -> None:
    """Against sums worked out here."""
    await books.fetch("INSERT INTO tenants (name) VALUES ('acme')")
    chance = random.Random(5)  # noqa: S311
    rows = [chosen(chance) for _ in range(500)]
    assert await books.add(*rows) == 500
    groups: dict[tuple[str, ...], list[tuple[int, ...]]] = defaultdict(list)
    for row in rows:
        groups[group_of(row, by)].append(figures(row))
    wanted = {group: tuple(map(sum, zip(*of, strict=True))) for group, of in groups.items()}
    page = await books.queries.sums(ALL, by, 0, 1000)
    assert not page.more
    costs = sum(row.cost_micro_dollars or 0 for row in rows)
    assert (page.total.requests, page.total.cost_micro_dollars) == (500, costs)
    found = {
        group_told(one, by): (
            one.requests,
            one.cost_micro_dollars,
            one.prompt_tokens,
            one.unpriced,
        )
        for one in page.sums
    }
    assert found == (wanted if by else {})


async def test_pages_hold_each_sum_once(books: Books) -> None:
    await books.add(*(entry(model_sent=f"m{n % 7}", key_id=n % 3) for n in range(40)))
    by = (Dimension.MODEL, Dimension.KEY)
    whole = (await books.queries.sums(ALL, by, 0, 100)).sums
    assert len(whole) == 21
    pages = [await books.queries.sums(ALL, by, offset, 5) for offset in range(0, 25, 5)]
    assert [one for page in pages for one in page.sums] == list(whole)
    assert [page.more for page in pages] == [True] * 4 + [False]
    assert {page.total for page in pages} == {pages[0].total}


async def test_a_filter_narrows_and_time_is_half_open(books: Books) -> None:
    await books.fetch("INSERT INTO tenants (name) VALUES ('acme')")
    rows = {
        "plain": entry(),
        "tenant": entry(tenant_id=2),
        "key": entry(key_id=9),
        "provider": entry(provider="other"),
        "model": entry(model_sent="other"),
        "unsent": entry(model_sent="", model_asked="asked"),
        "session": entry(session_id="s"),
        "later": entry(NOON + DAY),
    }
    await books.add(*rows.values())
    today = UsageFilter(NOON, NOON + DAY)

    async def found(which: UsageFilter) -> int:
        return (await books.queries.sums(which, (), 0, 1)).total.requests

    assert await found(today) == 7
    assert await found(replace(today, end=NOON + DAY + timedelta(seconds=1))) == 8
    assert await found(replace(today, start=NOON + timedelta(microseconds=1))) == 0
    assert await found(replace(today, tenant="acme")) == 1
    assert await found(replace(today, tenant="nobody")) == 0
    assert await found(replace(today, tenant="acme", tenant_id=1)) == 0
    assert await found(replace(today, key_id=9)) == 1
    assert await found(replace(today, without_key=True)) == 6
    assert await found(replace(today, provider="other")) == 1
    assert await found(replace(today, model="other")) == 1
    assert await found(replace(today, model="asked")) == 1
    assert await found(replace(today, session_id="s")) == 1
    exported = [row async for page in books.queries.rows(today) for row in page]
    assert {row["request_id"] for row in exported} == {
        row.request_id for name, row in rows.items() if name != "later"
    }


async def test_an_export_has_each_row_once_in_order(books: Books) -> None:
    """More than a page, many at the same moment."""
    rows = [entry(NOON + timedelta(seconds=n // 700)) for n in range(2500)]
    await books.add(*rows)
    pages = [page async for page in books.queries.rows(ALL)]
    assert [len(page) for page in pages] == [1000, 1000, 500]
    wanted = [row.request_id for row in rows]
    assert [row["request_id"] for page in pages for row in page] == wanted
