"""Credentials of a caller of a gRPC server."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from ailb_server.tls.files import NamedFile, TlsFiles, checked_ca

Options = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CallerFiles:
    """Without `ca` the machine's roots are trusted. `own` is what the server is shown, if it asks.
    `name`: the name that the server's certificate must have, if that is not the target's host."""

    ca: NamedFile | None = None
    certificate: NamedFile | None = None
    key: NamedFile | None = None
    name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises TlsFileError."""
        roots = None if self.ca is None else checked_ca(self.ca)
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(roots)
        own = TlsFiles(self.certificate, self.key).read()
        return grpc.ssl_channel_credentials(roots, own.key, own.chain)

    def options(self) -> Options:
        """Of the channel."""
        return () if self.name is None else (("grpc.ssl_target_name_override", self.name),)
