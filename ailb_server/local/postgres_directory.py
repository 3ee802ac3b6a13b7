"""The directory of one embedded Postgres on disk, and the locks that several processes share it by.

    <root>/start.lock    held while somebody starts or stops the server
    <root>/users.lock    held shared by every user of the server: the last one out stops it
    <root>/server.lock   held by every process of the server itself, who inherit it
    <root>/server.log    what the server prints
    <root>/data/         the cluster, with the server's socket in it

Locks are `flock`s: the kernel drops them when their holder dies, however it dies, so nothing is
ever left over and no process id needs to be trusted.
"""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ailb_server.local.postgres_error import PostgresError
from ailb_server.local.postgres_programs import MAJOR_VERSION

_MAX_LOG_BYTES = 4 << 20
_KEPT_LOG_BYTES = 256 << 10
# sun_path holds 104 bytes on macOS and 108 on Linux, "/.s.PGSQL.5432" and the final NUL included.
# A comma separates hosts in a DSN; other unusual characters are left to the short link as well.
_PLAIN_ADDRESS = re.compile(rb"[A-Za-z0-9_./ +~-]{1,88}")
_LOCK_POLL_S = 0.05


class FileLock:
    """One open lock file; closing it, or dying, lets go of it."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd: int | None = os.open(path, flags, 0o600)

    def fileno(self) -> int:
        """The descriptor, for a child that shall inherit the lock."""
        if self._fd is None:
            raise ValueError("the lock is closed")
        return self._fd

    def try_exclusive(self) -> bool:
        """Takes the lock alone; False if anybody else holds it."""
        try:
            fcntl.flock(self.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        """Takes the lock along with others; `BlockingIOError` if somebody holds it alone."""
        fcntl.flock(self.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Lets go of the lock, unless a child inherited it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class DataDirectory:
    """Paths and locks below `root`, which belongs to us and to no other user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = root / "data"
        self.log = root / "server.log"

    def create(self) -> None:
        """Makes the directory private, or checks that an existing one is ours.

        Existing directories are never re-permissioned. Raises `PostgresError` or `OSError`.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.root.mkdir(mode=0o700)
        status = self.root.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise PostgresError(f"{self.root} is not a directory")
        if status.st_uid != os.geteuid():
            raise PostgresError(
                f"{self.root} belongs to another user (uid {status.st_uid}):"
                " run ailb as that user, or set AILB_DATA_DIR to a directory of your own"
            )
        if status.st_mode & 0o022:
            raise PostgresError(
                f"other users may write to {self.root}: choose another AILB_DATA_DIR"
            )
        if (self.root / "PG_VERSION").exists():
            raise PostgresError(
                f"{self.root} is itself the data directory of a Postgres server:"
                " choose another AILB_DATA_DIR"
            )

    def require_own_cluster(self) -> bool:
        """True if there is a cluster we can start, False if there is none yet.

        Raises `PostgresError` for anything else, before a server could damage it.
        """
        if not self.cluster.exists():
            return False
        try:
            version = (self.cluster / "PG_VERSION").read_text().strip()
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            version = ""
        if not version.isdigit():
            raise PostgresError(
                f"{self.cluster} is not a Postgres data directory (or is damaged):"
                " restore it from a backup, or move it away to start with an empty store"
            )
        if version != MAJOR_VERSION:
            raise PostgresError(
                f"{self.cluster} was made by Postgres {version}, and this AILB brings Postgres"
                f" {MAJOR_VERSION}: dump it with the AILB that made it (pg_dump), move it away,"
                " and restore the dump"
            )
        return True

    @contextmanager
    def starting_or_stopping(self, timeout_s: float) -> Iterator[None]:
        """At most one process at a time is inside; raises `PostgresError` after `timeout_s`."""
        lock = FileLock(self.root / "start.lock")
        try:
            deadline = time.monotonic() + timeout_s
            while not lock.try_exclusive():
                if time.monotonic() > deadline:
                    raise PostgresError(
                        f"another process has been starting or stopping Postgres in {self.root}"
                        f" for {timeout_s:g} s"
                    )
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            lock.close()

    def users_lock(self) -> FileLock:
        """Held shared by every user of the server."""
        return FileLock(self.root / "users.lock")

    def server_lock(self) -> FileLock | None:
        """The server's lock, taken; None while any process of the server lives."""
        lock = FileLock(self.root / "server.lock")
        if lock.try_exclusive():
            return lock
        lock.close()
        return None

    def open_log(self) -> IO[bytes]:
        """The log, to append to; only its tail is kept once it has grown long."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        log = os.fdopen(os.open(self.log, flags, 0o600), "ab+")
        size = os.fstat(log.fileno()).st_size
        if size > _MAX_LOG_BYTES:
            log.seek(size - _KEPT_LOG_BYTES)
            tail = log.read(_KEPT_LOG_BYTES)
            log.truncate(0)
            log.write(tail)
            log.flush()
        return log

    def log_since(self, offset: int) -> bytes:
        """What the server printed after the log was `offset` bytes long, at most the kept tail."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(offset, end - _KEPT_LOG_BYTES))
            return log.read(_KEPT_LOG_BYTES)
        return b""

    def client_address(self) -> Path:
        """A directory to reach the server's socket through, fit for a DSN.

        It is the cluster itself or, if that path is too long for a socket or not plain, a link to
        it in a short directory that only we may enter. Raises `PostgresError` or `OSError`.
        """
        if _PLAIN_ADDRESS.fullmatch(os.fsencode(self.cluster)):
            return self.cluster
        link = self._link()
        link.parent.mkdir(mode=0o700, exist_ok=True)
        status = link.parent.lstat()
        private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        if not private or status.st_uid != os.geteuid():
            raise PostgresError(f"{link.parent} was made by somebody else: remove it")
        if not link.is_symlink() or link.readlink() != self.cluster:
            link.unlink(missing_ok=True)
            link.symlink_to(self.cluster, target_is_directory=True)
        return link

    def remove_link(self) -> None:
        """Removes the short link if there is one."""
        link = self._link()
        with suppress(OSError):
            link.unlink()
            link.parent.rmdir()

    def _link(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:12]
        name = f"ailb-{os.geteuid()}-{digest}"
        candidates = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - checked to be ours
        for base in candidates:
            link = base / name / "data"
            if _PLAIN_ADDRESS.fullmatch(os.fsencode(link)):
                return link
        return link
