"""Asks a Postgres server over its Unix socket whether it serves, without a client library.

Wire facts: https://www.postgresql.org/docs/18/protocol-message-formats.html and, for the
SQLSTATE codes, https://www.postgresql.org/docs/18/errcodes-appendix.html.
"""

import socket
import struct
import sys
from enum import Enum, auto
from pathlib import Path

SOCKET_NAME = ".s.PGSQL.5432"

_PROTOCOL_3_0 = 196608
_CANNOT_CONNECT_NOW = "57P03"
_NO_SUCH_DATABASE = "3D000"
_NO_SUCH_ROLE = "28000"
_MAX_MESSAGE_BYTES = 65_536
_TERMINATE = b"X\x00\x00\x00\x04"
_DARWIN_SOL_LOCAL = 0
_DARWIN_LOCAL_PEERPID = 2


class ServerState(Enum):
    """What a server answers to a client that wants to connect."""

    READY = auto()
    UNPREPARED = auto()
    """It serves, but the role or the database asked for is not there."""
    BUSY = auto()
    """It starts, recovers, shuts down, or does not answer in time."""
    DOWN = auto()
    """Nobody listens."""


def probe(directory: Path, role: str, database: str, timeout_s: float = 2.0) -> ServerState:
    """Connects as a client would and reads the answer; every wait is bounded by `timeout_s`.

    `OSError` means that the socket is there but may not be used.
    """
    try:
        with _connect(directory, timeout_s) as connection:
            connection.sendall(_startup_message(role, database))
            state = _read_state(connection)
            connection.sendall(_TERMINATE)
            return state
    except TimeoutError:
        return ServerState.BUSY
    except (FileNotFoundError, ConnectionError):
        return ServerState.DOWN


def listens(directory: Path, timeout_s: float = 2.0) -> bool:
    """True while a server takes connections, be it ready or recovering from a crash."""
    try:
        _connect(directory, timeout_s).close()
    except OSError:
        return False
    return True


def server_pid(directory: Path, timeout_s: float = 2.0) -> int | None:
    """The process that listens on the socket, by the kernel's word; None if there is none.

    Unlike postmaster.pid this cannot name a process that took over a dead server's number.
    """
    try:
        with _connect(directory, timeout_s) as connection:
            return _peer_pid(connection) or None
    except OSError:
        return None


def _peer_pid(connection: socket.socket) -> int:
    if sys.platform == "darwin":
        return connection.getsockopt(_DARWIN_SOL_LOCAL, _DARWIN_LOCAL_PEERPID)
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    pid, _uid, _gid = struct.unpack("3i", credentials)
    return int(pid)


def _connect(directory: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(directory / SOCKET_NAME))
    except BaseException:
        connection.close()
        raise
    return connection


def _startup_message(role: str, database: str) -> bytes:
    fields = f"user\0{role}\0database\0{database}\0application_name\0ailb probe\0\0".encode()
    return struct.pack(">ii", len(fields) + 8, _PROTOCOL_3_0) + fields


def _read_state(connection: socket.socket) -> ServerState:
    while True:
        kind, body = _read_message(connection)
        if kind == b"Z":
            return ServerState.READY
        if kind == b"E":
            return _state_of_error(body)


def _state_of_error(body: bytes) -> ServerState:
    codes = [field[1:].decode() for field in body.split(b"\0") if field.startswith(b"C")]
    code = codes[0] if codes else ""
    if code == _CANNOT_CONNECT_NOW:
        return ServerState.BUSY
    if code in (_NO_SUCH_DATABASE, _NO_SUCH_ROLE):
        return ServerState.UNPREPARED
    # Any other refusal, such as "too many clients", comes from a server that serves.
    return ServerState.READY


def _read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = struct.unpack(">ci", _read_exactly(connection, 5))
    body_length = length - 4  # the length counts itself
    if not 0 <= body_length <= _MAX_MESSAGE_BYTES:
        raise ConnectionError("not a Postgres server")
    return kind, _read_exactly(connection, body_length)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        received = connection.recv(count - len(data))
        if not received:
            raise ConnectionError("closed while answering")
        data += received
    return data
