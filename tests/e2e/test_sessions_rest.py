"""Sessions over REST: read, searched, deleted."""

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.postgres import sql
from tests.support.stack import Stack

SEED = """
INSERT INTO sessions (tenant_id, external_id, end_user, turn_count)
VALUES (1, '{name}', 'ann', 2);
INSERT INTO turns (tenant_id, session_id, turn, role, tokens, fingerprint, embeddable, request_id,
                   text, finish_reason)
SELECT 1, s.id, n, n + 1, 5, n, true, 'r', CASE n WHEN 0 THEN 'Where is Zanzibar?' ELSE 'East.' END,
       CASE n WHEN 0 THEN '' ELSE 'stop' END
  FROM sessions s, generate_series(0, 1) n WHERE s.external_id = '{name}'
"""
NAMES = ("rest one", "rest:two", "rest-dritte-ä")


def call(stack: Stack, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.rest + path, data, method=verb)  # noqa: S310
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def seeded(stack: Stack, postgres_server: str) -> Stack:
    sql(postgres_server, "DELETE FROM sessions")
    for name in NAMES:
        sql(postgres_server, SEED.format(name=name))
    return stack


def test_sessions_are_listed_and_read(seeded: Stack) -> None:
    status, page = call(seeded, "GET", "/v1/sessions?page_size=2&user=ann")
    assert status == 200
    assert len(page["sessions"]) == 2
    token = quote(page["next_page_token"])
    _, rest = call(seeded, "GET", f"/v1/sessions?user=ann&page_token={token}")
    ids = [session["id"] for session in (*page["sessions"], *rest["sessions"])]
    assert sorted(ids) == sorted(NAMES)
    for name in NAMES:
        _, one = call(seeded, "GET", f"/v1/sessions/{quote(name)}?session_id=other")
        assert (one["session"]["id"], one["session"]["turn_count"]) == (name, 2)
        _, turns = call(seeded, "GET", f"/v1/sessions/{quote(name)}/turns?page_size=1")
        assert turns["turns"][0]["text"] == "Where is Zanzibar?"
        assert turns["turns"][0]["role"] == "ROLE_USER"
        assert turns["next_page_token"]


def test_turns_are_searched(seeded: Stack) -> None:
    status, found = call(seeded, "POST", "/v1/sessions:search", {"query": "zanzibar"})
    assert status == 200
    assert {match["session_id"] for match in found["matches"]} == set(NAMES)


def test_sessions_are_deleted(seeded: Stack) -> None:
    assert call(seeded, "DELETE", f"/v1/sessions/{quote(NAMES[0])}") == (200, {})
    status, error = call(seeded, "DELETE", f"/v1/sessions/{quote(NAMES[0])}")
    assert (status, error["error"]["code"], error["error"]["param"]) == (
        404,
        "not_found",
        "session_id",
    )
    assert call(seeded, "DELETE", "/v1/sessions?user=nobody") == (200, {"deleted": 0})
    assert call(seeded, "DELETE", "/v1/sessions?all=true") == (200, {"deleted": 2})


@pytest.mark.parametrize(
    ("verb", "path", "status", "param"),
    [
        ("DELETE", "/v1/sessions", 400, "user"),
        ("GET", "/v1/sessions?page_size=9999", 400, "page_size"),
        ("GET", "/v1/sessions?page_token=x", 400, "page_token"),
        ("GET", "/v1/sessions/a%2Fb", 400, "session_id"),
        ("POST", "/v1/sessions:search", 400, "query"),
        ("POST", "/v1/sessions", 405, None),
        ("PUT", "/v1/sessions/x", 405, None),
        ("DELETE", "/v1/sessions/x/turns", 405, None),
        ("GET", "/v1/sessions:search", 405, None),
        ("GET", "/v1/sessions/x/turns/1", 404, None),
    ],
)
def test_what_is_wrong_is_said(
    stack: Stack, verb: str, path: str, status: int, param: str | None
) -> None:
    got, error = call(stack, verb, path, {} if verb == "POST" else None)
    assert (got, error["error"]["param"]) == (status, param)
