"""Signs requests as a caller does, by the documented format and nothing of the server's."""

import hashlib
import hmac
import secrets
import time


def authorization(
    key_id: int, secret: str, target: str, body: bytes, *, now: int | None = None
) -> str:
    """The header; `now` in seconds since 1970."""
    stamp = str(int(time.time()) if now is None else now)
    nonce = secrets.token_hex(16)
    digest = hashlib.sha256(body).hexdigest()
    text = "\n".join(("AILB-HMAC-SHA256", str(key_id), stamp, nonce, target, digest))
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"AILB-HMAC-SHA256 Key={key_id}, Timestamp={stamp}, Nonce={nonce}, Signature={signature}"
