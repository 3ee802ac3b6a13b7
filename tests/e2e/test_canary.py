"""No secret is in any sink, and no prompt but where prompts are kept.

Marked secrets and prompts go through every field and fault of two instances behind Envoy, one of
which logs all that it can, with providers whose errors quote both; then everything is read.
"""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.canary.marks import Marks
from tests.e2e.canary.town import Town
from tests.e2e.canary.visits import Visitors
from tests.support.command import Ailb
from tests.support.postgres import database_dsn, sql
from tests.support.stack import eventually

DATABASE = "canary"
# Which texts of callers a table is there for, by the beginnings of their marks' names.
KEPT: Mapping[str, tuple[str, ...]] = {
    "turns": ("",),
    "chunks": ("",),
    "documents": ("",),
    "import_items": ("",),
    "collections": ("collection", "about"),
    "sessions": ("session", "user"),
    # Names, not texts: what was asked for, and for which conversation.
    "usage_ledger": ("model", "session"),
    "api_keys": ("keyname", "note"),
    "audit_log": ("keyname", "note"),
}


@pytest.fixture(scope="module")
def town(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """After all visits; the instance that tells all was killed at the end of them."""
    sql(postgres_server, f"CREATE DATABASE {DATABASE} OWNER ailb", role="postgres")
    marks = Marks()
    server = database_dsn(postgres_server, DATABASE)
    dsn = server.replace("ailb@", f"ailb:{marks.hide('database')}@", 1)
    assert dsn != server
    with Town(dsn, marks, tmp_path_factory.mktemp("town")) as running:
        visitors = Visitors(running, server)
        visitors.all()
        for url in running.metrics:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
                running.answers.append(answer.read().decode())
        for path in ("/metrics", "/api/routing/stats", "/api/routing/decisions", "/healthz",
                     "/admin/v1/usage", "/admin/v1/usage:export", "/admin/v1/keys"):  # fmt: skip
            running.call("GET", path, key=running.marks.secret["admin"])
        eventually(lambda: "auth.failed" in audit(server), 30)
        running.instances[-1].process.kill()
        yield running
    sql(postgres_server, f"DROP DATABASE {DATABASE} WITH (FORCE)", role="postgres")


def audit(server: str) -> str:
    return sql(server, "SELECT string_agg(action, ' ') FROM audit_log")


@contextmanager
def told(sink: str, text: str, marks: Marks) -> Iterator[list[str]]:
    """Checks a sink for secrets; gives the callers' texts in it."""
    assert text, f"{sink} is empty"
    assert marks.secrets_in(text) == [], f"secrets are in {sink}"
    yield marks.said_in(text)


def test_the_visits_met_what_they_should(town: Town) -> None:
    statuses = {answer[:3] for answer in town.answers}
    assert {"200", "400", "401", "403", "404", "413", "422", "502", "503"} <= statuses
    assert town.hostile.seen > 100
    assert len(town.marks.secret) > 40
    # The marks are found where they are.
    prompts = sql(database(town), "SELECT string_agg(text, ' ') FROM turns")
    assert town.marks.said_in(prompts)


def database(town: Town) -> str:
    return town.dsn.replace(f":{town.marks.secret['database']}@", "@")


@pytest.mark.parametrize("number", [0, 1], ids=["info", "debug"])
def test_logs(town: Town, number: int) -> None:
    with told("a log", town.instances[number].output, town.marks) as said:
        # Operators name collections and keys, and are told of them.
        assert [name for name in said if not name.startswith(("collection", "keyname"))] == []


def test_answers_hold_no_secret(town: Town) -> None:
    for answer in town.answers:
        with told("an answer", answer, town.marks):
            pass


def test_what_everybody_may_read_holds_no_text_of_others(town: Town) -> None:
    with told("health", town.call("GET", "/healthz")[1], town.marks) as said:
        assert said == []
    admin = town.marks.secret["admin"]
    for path in ("/metrics", "/api/routing/stats"):
        with told(path, town.call("GET", path, key=admin)[1], town.marks) as said:
            assert said == []


def test_every_table(town: Town) -> None:
    tables = sql(
        database(town),
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'm')"
        " AND relnamespace = 'public'::regnamespace ORDER BY 1",
    ).split()
    assert {"turns", "key_digest", "api_keys", "import_items"} <= set(tables)
    for table in tables:
        rows = sql(database(town), f'SELECT t::text FROM "{table}" t')  # noqa: S608
        kept = KEPT.get(re.sub(r"_[0-9]{6}$", "", table), ())
        assert town.marks.secrets_in(rows) == [], f"secrets are in the table {table}"
        found = [name for name in town.marks.said_in(rows) if not name.startswith(kept or "\0")]
        assert found == [], f"texts of callers are in the table {table}"


def test_files_on_disk(town: Town) -> None:
    written = [path for path in town.directory.rglob("*") if path.is_file()]
    assert any(town.journals in path.parents for path in written)
    for path in written:
        text = path.read_bytes().decode(errors="replace")
        # The token of a Cookie header is the operator's own and in the file that it wrote.
        expected = path.name == "ailb.yaml"
        found = [
            n
            for n in town.marks.secrets_in(text)
            if not (expected and n.startswith(("header", "cookie")))
        ]
        assert found == [], f"secrets are in {path}"
        said = [n for n in town.marks.said_in(text) if not n.startswith(KEPT["usage_ledger"])]
        assert said == [], f"texts of callers are in {path}"


def test_envoy(town: Town) -> None:
    with told("Envoy's log", town.envoy.log.read_text(), town.marks) as said:
        assert [
            name
            for name in said
            if not name.startswith(("path", "nopath", "gone", "collection", "document"))
        ] == []
    for path in ("/config_dump", "/stats", "/clusters", "/server_info"):
        with told(path, envoy_admin(town, path), town.marks) as said:
            assert said == []


def envoy_admin(town: Town, path: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(town.directory / "envoy" / "admin.sock"))
        admin.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        with admin.makefile("rb") as answer:
            return answer.read().decode(errors="replace")


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "list", "--all"), ("keys", "get", "1"), ("audit",), ("audit", "--json"),
        ("audit", "--csv"), ("usage", "--json"), ("usage", "--csv"), ("usage",), ("health",),
        ("envoy-config", "written"), ("migrate",), ("chat", "-m", "oa-x-400", "hello"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_command_line(town: Town, arguments: tuple[str, ...], tmp_path: Path) -> None:
    target = town.grpc[0]
    reach = {"AILB_TARGET": target, "AILB_API_KEY": town.marks.secret["admin"],
             "GRPC_PORT": target.rpartition(":")[2]}  # fmt: skip
    with Ailb(*arguments, directory=tmp_path, environment={**town.environment, **reach}) as ailb:
        ailb.ends()
        with told(" ".join(arguments), ailb.output or "nothing", town.marks):
            pass
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert town.marks.secrets_in(path.read_text(errors="replace")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"DATABASE_URL": "{}"}, {"DATABASE_URL": "postgresql://me:{}@127.0.0.1:1/x"},
        {"DATABASE_URL": "postgresql://me:{}@nowhere.invalid/x?password={}&port=z"},
        {"KEY_PEPPER": "{}"}, {"KEY_PEPPER": "short{:.8}"}, {"ADMIN_API_KEY": "x{:.9}"},
        {"OPENAI_API_KEY": "a\x01{}"}, {"OPENAI_BASE_URL": "http://u:{}@h/{}"}, {"HTTP_PORT": "{}"},
        {"AILB_CONFIG": "{directory}/key.yaml"}, {"AILB_CONFIG": "{directory}/broken.yaml"},
        {"AILB_CONFIG": "{directory}/header.yaml"},
    ],
    ids=str,
)  # fmt: skip
def test_a_start_that_fails(town: Town, wrong: Mapping[str, str], tmp_path: Path) -> None:
    mark = town.marks.hide(f"start{len(town.marks.secret)}")
    files = {
        "key": f"providers: [{{name: a, base_url: http://h/v1, api_key: {mark}}}]",
        "broken": f"providers: [{{name: a, base_url: http://h/v1, headers: {{x-key: {mark}",
        "header": f"providers: [{{name: a, base_url: http://h/v1, headers: {{x-key: [{mark}]}}}}]",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    given = {name: value.format(mark, mark, directory=tmp_path) for name, value in wrong.items()}
    unreachable = f"postgresql://me:{mark}@127.0.0.1:1/x"
    bounded = {"DATABASE_URL": unreachable, "DATABASE_CONNECT_TIMEOUT_S": 1}
    environment = {**town.environment, **bounded, **given}
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        assert ailb.ends() != 0
        assert town.marks.secrets_in(ailb.output) == []
        assert mark[4:20] not in ailb.output
    assert json.dumps(ailb.output) != '""'
