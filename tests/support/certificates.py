"""Certificates made for a test, as the files that settings name."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import trustme


@dataclass
class Pems:
    """A directory with authorities and what they sign. Paths are of PEM files."""

    directory: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def ca(self, authority: trustme.CA | None = None, name: str = "ca.pem") -> Path:
        """The authority's certificate."""
        return self.put(name, (authority or self.authority).cert_pem.bytes())

    def pair(
        self, name: str = "server", *names: str, authority: trustme.CA | None = None
    ) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, localhost and `names`, with its chain, and its key."""
        leaf = (authority or self.authority).issue_cert("127.0.0.1", "localhost", *names)
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        return (
            self.put(f"{name}.pem", chain),
            self.put(f"{name}.key", leaf.private_key_pem.bytes(), 0o600),
        )

    def put(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        """Moves a file to its place, as tools that rotate certificates do."""
        path, new = self.directory / name, self.directory / f".{name}.new"
        new.write_bytes(content)
        new.chmod(mode)
        os.replace(new, path)
        return path
