"""Limits as callers of the REST port meet them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.test_keys import ADMIN, CHAT, make, openai_client
from tests.e2e.test_keys import ask as asked
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

# A dollar for 100,000 tokens.
PRICE = 10_000_000


@pytest.fixture(scope="module")
def limited(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys, and whose models have a price."""
    sql(postgres_server, "CREATE DATABASE limited OWNER ailb", role="postgres")
    settings = {"require_api_key": True, "admin_api_key": ADMIN, "unknown_price": PRICE}
    with Stack(database_dsn(postgres_server, "limited"), settings=settings) as running:
        yield running
    sql(postgres_server, "DROP DATABASE limited WITH (FORCE)", role="postgres")


def ask(stack: Stack, key: str, **fields: Any) -> tuple[int, Any, bytes]:
    """Status, headers, body."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = json.dumps({**CHAT, **fields}).encode()
    url = f"{stack.rest}/v1/chat/completions"
    try:
        with urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, data, headers),  # noqa: S310
            timeout=20,
        ) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_headers_and_a_429(limited: Stack, stream: bool) -> None:  # noqa: FBT001
    _, secret = make(limited, limits={"requests_per_minute": 3, "tokens_per_minute": 100_000})
    told = [ask(limited, secret, stream=stream, max_tokens=10) for _ in range(4)]
    assert [status for status, _, _ in told] == [200, 200, 200, 429]
    remaining = [headers["x-ratelimit-remaining-requests"] for _, headers, _ in told]
    assert remaining == ["2", "1", "0", "0"]
    first, last = told[0][1], told[3][1]
    assert first["x-ratelimit-limit-tokens"] == "100000"
    assert first["x-ratelimit-limit-requests"] == "3"
    assert first["x-ratelimit-reset-requests"] == "20s" or first[
        "x-ratelimit-reset-requests"
    ].startswith("19.")
    assert 1 <= int(last["retry-after"]) <= 20
    assert json.loads(told[3][2])["error"]["code"] == "rate_limit_exceeded"
    with openai_client(limited, secret) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**CHAT)


def test_a_spent_budget_is_a_402(limited: Stack) -> None:
    key, secret = make(limited, limits={"monthly_budget_usd": 0.005})
    assert ask(limited, secret, max_tokens=10)[0] == 200
    status, _, body = ask(limited, secret, max_tokens=16_000)
    assert status == 402
    error = json.loads(body)["error"]
    assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
    assert ask(limited, secret, max_tokens=10)[0] == 200
    query = f"SELECT spent_usd > 0, budget_usd FROM budget_usage WHERE owner_id = {key}"  # noqa: S608
    assert sql(limited.dsn, query).endswith("|0.005000")


def routed_micro_dollars(stack: Stack) -> int:
    """What all requests until now have cost, as routing's statistics tell."""
    status, stats = asked(stack, "GET", "/api/routing/stats")
    assert status == 200
    costs: list[float] = [target["cost_usd"] for target in stats["targets"]]
    return round(sum(costs) * 1_000_000)


def test_budget_ledger_and_statistics_tell_one_cost(limited: Stack) -> None:
    key, secret = make(limited, limits={"monthly_budget_usd": 1})
    before = routed_micro_dollars(limited)
    for stream in (False, True):
        assert ask(limited, secret, stream=stream, max_tokens=10)[0] == 200
    ledger = f"SELECT count(*), sum(cost_micro_dollars) FROM usage_ledger WHERE key_id = {key}"  # noqa: S608
    eventually(lambda: sql(limited.dsn, ledger).startswith("2|"))
    cost = int(sql(limited.dsn, ledger).removeprefix("2|"))
    assert cost > 0
    assert routed_micro_dollars(limited) - before == cost
    budget = f"SELECT round(spent_usd * 1e6) FROM budget_usage WHERE owner_id = {key}"  # noqa: S608
    eventually(lambda: int(sql(limited.dsn, budget)) == cost)


def test_a_tenants_limit_is_in_force_at_once(limited: Stack) -> None:
    _, secret = make(limited, tenant="frugal")
    assert ask(limited, secret)[0] == 200
    sql(limited.dsn, "UPDATE tenants SET requests_per_minute = 2 WHERE name = 'frugal'")
    statuses = [ask(limited, secret)[0] for _ in range(40)]
    assert 429 in statuses
    assert statuses.count(200) < 10
