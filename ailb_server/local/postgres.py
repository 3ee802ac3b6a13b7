"""The Postgres that `ailb up` brings along, supervised.

Several processes may use one directory: they share one server, and the last one out stops it. See
docs/decisions/0002-embedded-postgres.md for what was tried and why it is built this way.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from ailb_server.local.postgres_cluster import (
    DATABASE,
    PREPARE_SQL,
    ROLE,
    USUAL_CONNECTIONS,
    connections_for,
    create_cluster,
    server_command,
)
from ailb_server.local.postgres_directory import DataDirectory, FileLock
from ailb_server.local.postgres_error import PostgresError
from ailb_server.local.postgres_pidfile import clear_stale_pid_files
from ailb_server.local.postgres_probe import ServerState, listens, probe, server_pid
from ailb_server.local.postgres_programs import Programs, find_programs, last_lines

__all__ = ["EmbeddedPostgres", "PostgresError"]

_SQL_TIMEOUT_S = 60.0
# Another process may be at a start or a stop that takes all of its own time.
_TURN_TIMEOUT_S = 400.0
# Backends notice within moments that their postmaster died, unless they are in a long statement.
_DYING_TIMEOUT_S = 60.0
_POLL_S = 0.02
# Fast shutdown, immediate shutdown and, for a server that answers to neither, the end.
_STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


class EmbeddedPostgres:
    """A Postgres server on `data_dir`, shared with every other process that uses the directory.

    `settings` overrides server settings, and at least `connections` are let in, if this object is
    the one to start the server.
    `start_timeout_s` bounds a start including crash recovery. The methods block, and need no event
    loop.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        connections: int = USUAL_CONNECTIONS,
        start_timeout_s: float = 300.0,
        programs: Programs | None = None,
    ) -> None:
        self._directory = DataDirectory(data_dir.expanduser().resolve())
        self._settings = dict(settings or {})
        self._connections = connections
        self._start_timeout_s = start_timeout_s
        self._programs = programs
        self._calls = threading.Lock()
        self._users: FileLock | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts or joins the server; returns the DSN of the database `ailb`, over its socket.

        Recovers from whatever a killed server or user left behind; may be called again after the
        server died. Raises `PostgresError`.
        """
        try:
            with self._calls:
                programs = self._programs or find_programs()
                self._directory.create()
                with self._directory.starting_or_stopping(_TURN_TIMEOUT_S):
                    self._bring_up(programs)
                    return self._dsn()
        except OSError as error:
            raise PostgresError(f"cannot use {self._directory.root}: {error}") from error

    def stop(self) -> None:
        """Lets go of the server and, if nobody else uses it, stops it; bounded; may be repeated.

        Waits for a `start` that runs in another thread. Raises `PostgresError` if the server does
        not stop.
        """
        try:
            with self._calls:
                if self._users is not None:
                    with self._directory.starting_or_stopping(_TURN_TIMEOUT_S):
                        self._leave()
        except OSError as error:
            raise PostgresError(f"cannot stop Postgres: {error}") from error

    def alive(self) -> bool:
        """True while the server takes connections, or recovers from a crash of its own."""
        try:
            # Bounds the log, and renews the short link if somebody cleaned it away.
            self._directory.open_log().close()
            return listens(self._directory.client_address())
        except (OSError, PostgresError):
            return False

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _dsn(self) -> str:
        host = quote(os.fsencode(self._directory.client_address()))
        return f"postgresql://{ROLE}@/{DATABASE}?host={host}"

    def _bring_up(self, programs: Programs) -> None:
        if self._users is None:
            self._users = self._directory.users_lock()
        self._users.share()
        try:
            self._wait_until_it_serves(programs)
        except BaseException:
            # Ctrl-C included: nobody shall find a server that no user knows of.
            with suppress(PostgresError, OSError):
                self._leave()
            raise

    def _wait_until_it_serves(self, programs: Programs) -> None:
        """Starts the server as soon as nothing of an earlier one lives, and waits for it."""
        deadline = time.monotonic() + self._start_timeout_s
        patience_ends = time.monotonic() + _DYING_TIMEOUT_S
        log_offset: int | None = None
        while (state := self._state()) in (ServerState.BUSY, ServerState.DOWN):
            if state is ServerState.BUSY:
                patience_ends = time.monotonic() + _DYING_TIMEOUT_S
            lock = self._directory.server_lock()
            if lock is not None:
                with closing(lock):
                    if log_offset is not None:
                        raise PostgresError(self._failure("Postgres did not start", log_offset))
                    log_offset = self._launch(programs, lock)
            elif time.monotonic() > min(deadline, patience_ends):
                raise PostgresError(self._failure("Postgres does not answer", log_offset or 0))
            time.sleep(_POLL_S)
        if state is ServerState.UNPREPARED:
            programs.run_sql(self._directory.client_address(), PREPARE_SQL, _SQL_TIMEOUT_S)

    def _state(self) -> ServerState:
        return probe(self._directory.client_address(), ROLE, DATABASE)

    def _failure(self, what: str, log_offset: int) -> str:
        printed = last_lines(self._directory.log_since(log_offset))
        return f"{what} in {self._directory.root}; the end of {self._directory.log}:\n{printed}"

    def _launch(self, programs: Programs, lock: FileLock) -> int:
        """Starts the server with `lock` in its hands; returns the length of its log before."""
        cluster = self._directory.cluster
        if not self._directory.require_own_cluster():
            create_cluster(programs, self._directory, lock)
        clear_stale_pid_files(cluster)
        room = connections_for(programs, cluster, lock, self._connections)
        with self._directory.open_log() as log:
            offset = os.fstat(log.fileno()).st_size
            command = server_command(programs, cluster, {**room, **self._settings})
            self._child = programs.spawn_as_server(command, cluster, lock.fileno(), log)
            return offset

    def _leave(self) -> None:
        """Lets go of the server; the last one out stops it."""
        if self._users is None:
            return
        try:
            if self._users.try_exclusive():
                self._shut_down()
        finally:
            self._users.close()
            self._users = None

    def _shut_down(self) -> None:
        for number, patience_s in _STOP_SIGNALS:
            if self._gone_after(number, patience_s):
                break
        else:
            raise PostgresError(self._failure("Postgres does not stop", 0))
        self._directory.remove_link()
        if self._child is not None:
            self._child.wait(timeout=_SQL_TIMEOUT_S)
            self._child = None

    def _gone_after(self, number: signal.Signals, patience_s: float) -> bool:
        """Signals the server once it listens; True when no process of it is left."""
        deadline = time.monotonic() + patience_s
        signalled = False
        while (lock := self._directory.server_lock()) is None:
            if time.monotonic() > deadline:
                return False
            if not signalled:
                signalled = self._signal(number)
            time.sleep(_POLL_S)
        lock.close()
        return True

    def _signal(self, number: signal.Signals) -> bool:
        pid = server_pid(self._directory.client_address())
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True
