"""What a certificate says, told by the standard library: a handshake in memory with itself."""

import ssl
from dataclasses import dataclass
from typing import Any

_ROUNDS = 10
_NAMED = ("DNS", "IP Address")


@dataclass(frozen=True, slots=True)
class Certificate:
    """`names`: DNS names and IP addresses. `expires_at`: seconds since 1970. `problem`: why callers
    will refuse it, whatever their roots are; then the rest is not known."""

    names: tuple[str, ...] = ()
    expires_at: float | None = None
    problem: str = ""


def certificate_of(server: ssl.SSLContext, chain: bytes) -> Certificate:
    """Of the first certificate of `chain`, which `server` has loaded with its key."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is the root, whoever signed it.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=chain.decode("ascii", "replace"))
        told = _handshake(client, server)
    except ssl.SSLCertVerificationError as error:
        return Certificate(problem=error.verify_message)
    except (ssl.SSLError, ValueError) as error:
        return Certificate(problem=str(getattr(error, "reason", None) or error))
    alternatives: tuple[tuple[str, str], ...] = told.get("subjectAltName", ())
    names = tuple(name for kind, name in alternatives if kind in _NAMED)
    return Certificate(names, ssl.cert_time_to_seconds(told["notAfter"]))


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server)
    answerer = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        try:
            caller.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            return dict(caller.getpeercert() or {})
        try:
            answerer.do_handshake()
        except ssl.SSLWantReadError:
            continue
    raise ValueError("no handshake")
