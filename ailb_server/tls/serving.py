"""Credentials of a gRPC server that follow their files.

gRPC asks for the certificate at each handshake, in a thread of its own, and keeps what it has where
the answer is None: connections that are open never notice.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

import grpc

from ailb_server.tls.files import Material, TlsFileError, TlsFiles

_log = logging.getLogger(__name__)

_DAY_S = 86_400
_SOON_S = 14 * _DAY_S


class ServerTls:
    """Raises TlsFileError at its beginning; later faults keep what was good."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = files.stamp()
        self._first = files.read()
        _tell(files, self._first)

    def credentials(self) -> grpc.ServerCredentials:
        """For one server. With a client CA nobody gets in without a certificate: gRPC's dynamic
        credentials know only "required" and "not asked for"."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._first),
            # The answer None, which keeps what is there, is missing in the stubs.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed),
            require_client_authentication=self._files.client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            stamp = self._files.stamp()
            if stamp == self._seen:
                return None
            self._seen = stamp
            try:
                material = self._files.read_once()
            except TlsFileError as error:
                # Told once: until the files change again they are not looked at.
                _log.warning("the certificate so far stays in use: %s", error)
                return None
            _log.info("the certificate was read anew: %s", self._files.certificate.path)
            _tell(self._files, material)
            return _configuration(material)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.chain)], material.client_ca
    )


def _tell(files: TlsFiles, material: Material) -> None:
    if files.key.is_open_to_all():
        _log.warning("%s", files.key.fault("every user of this machine can read it: chmod o-r"))
    told = material.certificate
    if told.problem:
        _log.warning("%s", files.certificate.fault(f"callers will refuse it: {told.problem}"))
    elif told.expires_at is not None and told.expires_at - time.time() < _SOON_S:
        days = max(0, int((told.expires_at - time.time()) // _DAY_S))
        _log.warning("%s", files.certificate.fault(f"expires in {days} days"))
