"""Rows of the usage ledger in files of this machine, until Postgres has them.

A line is a CRC-32 in eight hex digits, a space, a JSON object and a line feed. A file is locked
(flock) by the process that writes it; one that nobody holds was left by a process that is gone.
"""

import asyncio
import errno
import fcntl
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ailb_server.domain.usage import Batch, Loss

_SUFFIX = ".journal"
_ASIDE = "refused.jsonl"
# About 200 rows: read, checked and sent in a few milliseconds of the loop.
_BATCH_BYTES = 128 * 1024
# A bound is of this many files, so that what is stored is given back in pieces.
_FILES = 64
_MIN_FILE = 64 * 1024
_CRC = 9


class JournalError(RuntimeError):
    """The directory cannot be used; the message names it and says why."""


@dataclass(slots=True)
class _File:
    """`size` bytes of whole lines, of which `taken` are stored."""

    path: Path
    fd: int
    size: int = 0
    taken: int = 0


class UsageJournal:
    """One instance's files in `directory`, at most `max_bytes` together.

    What is beyond that is refused: rows that are kept already are never dropped for newer ones.
    """

    def __init__(self, directory: Path, instance: str, max_bytes: int) -> None:
        """Raises JournalError."""
        self._directory = directory
        self._name = f"{instance}.{secrets.token_hex(6)}"
        self._max_bytes = max_bytes
        self._file_bytes = max(_MIN_FILE, max_bytes // _FILES)
        self._numbers = 0
        self._waiting = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._active = self._new_file()
        except OSError as error:
            raise JournalError(
                f"USAGE_JOURNAL_DIR: {directory} cannot be used: {error.strerror}."
            ) from error
        # Oldest first; the last one is the one that is written.
        self._files = [self._active]

    @property
    def waiting_bytes(self) -> int:
        """How much is not stored yet."""
        return self._waiting

    def append(self, line: bytes) -> Loss | None:
        """One write. A kill in the middle of it may tear the line, never one before it."""
        data = b"%08x %b\n" % (zlib.crc32(line), line)
        if self._waiting + len(data) > self._max_bytes:
            return "full"
        try:
            if self._active.size + len(data) > self._file_bytes and self._active.size:
                self._active = self._new_file()
                self._files.append(self._active)
            self._write(data)
        except OSError:
            return "disk"
        self._active.size += len(data)
        self._waiting += len(data)
        return None

    def read(self) -> Batch | None:
        """See `spend.ledger.Journal`."""
        for file in self._files:
            if file.taken < file.size:
                return _batch(file)
        return None

    def done(self, batch: Batch) -> None:
        """A file of which all is stored is emptied, or removed if it is not written any more."""
        file = next(f for f in self._files if f is batch.place)
        self._waiting -= batch.end - file.taken
        file.taken = batch.end
        if file.taken < file.size:
            return
        if file is self._active:
            os.ftruncate(file.fd, 0)
            file.size = file.taken = 0
        else:
            self._files.remove(file)
            _remove(file)

    def put_aside(self, line: bytes) -> None:
        """A line of `refused.jsonl`."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._directory / _ASIDE, flags, 0o600)
        try:
            os.write(fd, line + b"\n")
        finally:
            os.close(fd)

    def adopt(self) -> int:
        """Files that nobody holds, of any instance that writes here."""
        mine = {file.path for file in self._files}
        found = [p for p in sorted(self._directory.glob(f"*{_SUFFIX}")) if p not in mine]
        adopted = [file for path in found if (file := _adopted(path)) is not None]
        self._files[:0] = adopted
        self._waiting += sum(file.size for file in adopted)
        return len(adopted)

    async def sync(self) -> None:
        """By a thread: the disk may be slow."""
        fds = [os.dup(file.fd) for file in self._files if file.taken < file.size]
        await asyncio.to_thread(_sync, fds)

    def close(self) -> int:
        """Removes what is empty; the rest is for another start, or for another instance."""
        for file in self._files:
            if file.taken == file.size:
                _remove(file)
            else:
                os.close(file.fd)
        self._files = []
        return self._waiting

    def _write(self, data: bytes) -> None:
        file = self._active
        written = os.write(file.fd, data)
        if written != len(data):
            # The disk is full: no half line may stay before the next one.
            os.ftruncate(file.fd, file.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _new_file(self) -> _File:
        while True:
            self._numbers += 1
            path = self._directory / f"{self._name}.{self._numbers:06d}{_SUFFIX}"
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = _File(path, os.open(path, flags, 0o600))
            # Between the two steps another instance may have taken it for one left behind.
            if _locked(file.fd):
                return file
            os.close(file.fd)


def _batch(file: _File) -> Batch:
    data = os.pread(file.fd, min(_BATCH_BYTES, file.size - file.taken), file.taken)
    end = data.rfind(b"\n") + 1
    if end == 0:
        # No line is so long, and none of ours lacks its end: a torn one, or no journal at all.
        return Batch((), 1, file, file.taken + len(data) if data else file.size)
    lines = [_checked(line) for line in data[:end].split(b"\n")[:-1]]
    good = [line for line in lines if line is not None]
    return Batch(good, len(lines) - len(good), file, file.taken + end)


def _checked(line: bytes) -> bytes | None:
    payload = line[_CRC:]
    return payload if line[:_CRC] == b"%08x " % zlib.crc32(payload) else None


def _adopted(path: Path) -> _File | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return None
    if not _locked(fd):
        os.close(fd)
        return None
    file = _File(path, fd, os.fstat(fd).st_size)
    if file.size == 0:
        _remove(file)
        return None
    return file


def _locked(fd: int) -> bool:
    """Whether it is ours now, and still there."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(fd).st_nlink > 0


def _remove(file: _File) -> None:
    # While it is locked: nobody else may take it up in between.
    file.path.unlink(missing_ok=True)
    os.close(file.fd)


def _sync(fds: Sequence[int]) -> None:
    for fd in fds:
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
