"""The PEM files of one side of a connection. Faults name the setting; nothing of a key is told."""

import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ailb_server.tls.certificate import Certificate, certificate_of

Stamp: TypeAlias = tuple[tuple[int, ...] | None, ...]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_TRIES = 3


class TlsFileError(ValueError):
    """A file that cannot be used; the message names its setting."""


class _ChangingError(TlsFileError):
    """Somebody writes the files right now."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file, and the setting or option that names it."""

    setting: str
    path: Path

    def read(self, marker: bytes, what: str) -> bytes:
        """Its bytes. Raises TlsFileError unless they contain `marker`."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self.fault(error.strerror or "cannot be read") from None
        if marker not in content:
            raise self.fault(f"holds no {what} in PEM")
        return content

    def fault(self, what: str) -> TlsFileError:
        """The error to raise."""
        return TlsFileError(f"{self.setting}: {self.path}: {what}")

    def stamp(self) -> tuple[int, ...] | None:
        """Differs once the file was written or replaced; None: it cannot be looked at."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def is_open_to_all(self) -> bool:
        """Whether every user of the machine may read it."""
        try:
            return bool(self.path.stat().st_mode & stat.S_IROTH)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held, checked to belong together. All is PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate with its chain, its key, and who may sign the other side's, if that is asked
    for a certificate at all."""

    certificate: NamedFile
    key: NamedFile
    client_ca: NamedFile | None = None

    def stamp(self) -> Stamp:
        """Differs once any of them was written or replaced."""
        files = (self.certificate, self.key, self.client_ca)
        return tuple(None if file is None else file.stamp() for file in files)

    def read(self) -> Material:
        """All of them, of one moment. Raises TlsFileError."""
        for _ in range(_TRIES - 1):
            try:
                return self.read_once()
            except _ChangingError:
                continue
        return self.read_once()

    def read_once(self) -> Material:
        """As `read`; fails if the files change meanwhile."""
        before = self.stamp()
        try:
            material = self._read()
        finally:
            if self.stamp() != before:
                raise _ChangingError(f"{self.certificate.setting}: changes while it is read")
        return material

    def _read(self) -> Material:
        chain = self.certificate.read(_CERTIFICATE, "certificate")
        key = self.key.read(_KEY, "private key")
        if any(marker in key for marker in _ENCRYPTED):
            raise self.key.fault("is encrypted, and there is nobody to ask for its password")
        context = self._context()
        client_ca = None if self.client_ca is None else checked_ca(self.client_ca)
        return Material(chain, key, client_ca, certificate_of(context, chain))

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password at hand, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certificate.path, self.key.path, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise self.key.fault(
                    f"is not the key of the certificate in {self.certificate.setting}"
                ) from None
            raise self.certificate.fault(
                f"cannot be used with {self.key.setting}: {_reason(error)}"
            ) from None
        except OSError as error:
            raise self.certificate.fault(error.strerror or "cannot be read") from None
        return context


def checked_ca(file: NamedFile) -> bytes:
    """The certificates of a file. Raises TlsFileError."""
    content = file.read(_CERTIFICATE, "certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=content.decode("ascii", "replace")
        )
    except ssl.SSLError as error:
        raise file.fault(f"holds a certificate that cannot be read: {_reason(error)}") from None
    return content


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "is malformed").replace("_", " ").lower()
