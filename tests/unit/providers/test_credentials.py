"""What a provider was sent in confidence is not in what it is quoted with."""

import pytest
from yarl import URL

from ailb_server.providers.credentials import confided, kind_of, without

URL_ = URL("https://api.test/v1/chat?api-version=1&code=url-secret-1")
HEADERS = {
    "Authorization": "Bearer sk-0123456789",
    "x-gateway": "gateway-secret",
    "Cookie": 'a=1; session="cookie-secret"',
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "x-team": "search",
}


@pytest.mark.parametrize(
    ("told", "quoted"),
    [
        (b"Incorrect key sk-0123456789.", b"Incorrect key [redacted]."),
        (b"header 'Bearer sk-0123456789'", b"header '[redacted]'"),
        (b"gateway-secret at /?code=url-secret-1", b"[redacted] at /?code=[redacted]"),
        (b"session=cookie-secret", b"session=[redacted]"),
        (
            b"application/json of 2023-06-01, search, 1",
            b"application/json of 2023-06-01, search, 1",
        ),
    ],
)
def test_credentials_are_left_out(told: bytes, quoted: bytes) -> None:
    assert without(told, confided(URL_, HEADERS)) == quoted


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_error", "rate_limit_error"),
        ("BadRequestError", "BadRequestError"),
        (500, "500"),
        (None, "unknown"),
        ("", "unknown"),
        ("sk-0123456789", "unknown"),
        ("say it with words", "unknown"),
        ({"a": 1}, "unknown"),
        ("cnry0a1b2c", "unknown"),
    ],
)
def test_a_kind_is_a_name(code: object, kind: str) -> None:
    assert kind_of(code) == kind
