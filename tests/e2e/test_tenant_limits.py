"""Tenants and their limits, by REST, gRPC's command and psql."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ailb
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

ADMIN = "an-administrators-own-secret"
SETTINGS = {"require_api_key": True, "admin_api_key": ADMIN}
CHAT: Any = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def locked(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys."""
    sql(postgres_server, "CREATE DATABASE tenant_limits OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "tenant_limits")
    with Stack(dsn, settings=SETTINGS) as running:
        yield running
    sql(postgres_server, "DROP DATABASE tenant_limits WITH (FORCE)", role="postgres")


def ask(stack: Stack, verb: str, path: str, key: str = ADMIN, **body: Any) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    data = json.dumps(body).encode() if verb in {"POST", "PATCH"} else None
    request = urllib.request.Request(  # noqa: S310
        stack.rest + path, data, headers, method=verb
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_tenants_limits_are_made_shown_changed_and_lifted(locked: Stack) -> None:
    limits = {"requests_per_minute": 2, "monthly_budget_usd": 12.5}
    status, made = ask(locked, "POST", "/admin/v1/tenants", name="acme", limits=limits)
    assert (status, made["tenant"]["limits"]) == (200, limits)
    assert ask(locked, "POST", "/admin/v1/tenants", name="acme")[0] == 409
    assert ask(locked, "GET", "/admin/v1/tenants/none")[0] == 404
    assert ask(locked, "PATCH", "/admin/v1/tenants/none")[0] == 404
    assert ask(locked, "POST", "/admin/v1/tenants", name="a b")[0] == 400
    bad = {"requests_per_minute": 0}
    assert ask(locked, "PATCH", "/admin/v1/tenants/acme", limits=bad)[0] == 400

    secret = ask(locked, "POST", "/admin/v1/keys", name="ci", tenant="acme")[1]["secret"]
    assert ask(locked, "GET", "/admin/v1/tenants", secret)[0] == 403
    statuses = [ask(locked, "POST", "/v1/chat/completions", secret, **CHAT)[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    status, changed = ask(locked, "PATCH", "/admin/v1/tenants/acme", clear=["requests_per_minute"])
    assert (status, changed["tenant"]["limits"]) == (200, {"monthly_budget_usd": 12.5})
    assert changed["tenant"]["keys"] == 1
    eventually(lambda: ask(locked, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200, 5)
    told = sql(
        locked.dsn,
        "SELECT action, subject, actor, before->>'requests_per_minute',"
        " after->>'requests_per_minute' FROM audit_log WHERE action LIKE 'tenant.%' ORDER BY id",
    )
    first, second = (line.split("|") for line in told.splitlines())
    assert first[:2] == ["tenant.created", "tenant acme"]
    assert second[:2] == ["tenant.limits", "tenant acme"]
    assert second[3:] == ["2", ""]
    assert not first[2].startswith("SQL")


def test_the_command(locked: Stack, tmp_path: Path) -> None:
    environment = {"AILB_API_KEY": ADMIN}

    def run(*arguments: str) -> tuple[int, str]:
        command = ("tenants", *arguments, "--target", locked.grpc)
        with Ailb(*command, directory=tmp_path, environment=environment) as ailb:
            return ailb.ends(), ailb.output

    status, made = run("create", "beta", "--set", "tpm=9000", "--set", "budget=5")
    assert status == 0, made
    assert json.loads(made)["limits"] == {"tokens_per_minute": 9000, "monthly_budget_usd": 5}
    assert "beta     0     -    9,000  -           5.0" in run("list")[1]
    status, changed = run("update", "beta", "--clear", "tpm", "--set", "rpm=7")
    assert json.loads(changed)["limits"]["requests_per_minute"] == 7
    assert run("update", "beta", "--set", "model=x")[0] == 2
    assert run("get", "none") == (1, "ailb: There is no tenant of this name.\n")


def set_limit(stack: Stack, kind: str, name: str, rate: int) -> None:
    sql(
        stack.dsn,
        "INSERT INTO rate_limits (limit_id, kind, name, requests_per_hour)"  # noqa: S608
        f" VALUES ('it', '{kind}', '{name}', {rate})",
    )


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        ("model", "demo", "rate_limit_exceeded"),
        ("global", "", "rate_limit_exceeded"),
        ("provider", "openai", "upstream_rate_limited"),
    ],
)
def test_a_limit_set_by_sql_holds_until_it_is_removed(
    locked: Stack, kind: str, name: str, code: str
) -> None:
    def chat() -> tuple[int, Any]:
        return ask(locked, "POST", "/v1/chat/completions", **CHAT)

    set_limit(locked, kind, name, 3)
    try:
        eventually(lambda: chat()[0] == 429, 5)
        refused = chat()[1]["error"]
        assert (refused["type"], refused["code"]) == ("rate_limit_error", code)
    finally:
        sql(locked.dsn, "DELETE FROM rate_limits")
    eventually(lambda: chat()[0] == 200, 5)
