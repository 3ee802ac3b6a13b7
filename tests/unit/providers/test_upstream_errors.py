"""Whose fault a provider's status is, and when to come back."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.errors import (
    Reason,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.providers.upstream_errors import (
    MAX_RETRY_AFTER_S,
    retry_after_s,
    status_error,
)

_BODY = b'{"error":{"message":"Too hot.","type":"invalid_request_error","param":"temperature"}}'


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (301, UpstreamMisconfiguredError),
        (400, UpstreamRejectedError),
        (401, UpstreamMisconfiguredError),
        (402, UpstreamMisconfiguredError),
        (403, UpstreamMisconfiguredError),
        (404, UpstreamRejectedError),
        (408, UpstreamTimeoutError),
        (409, UpstreamRejectedError),
        (413, UpstreamRejectedError),
        (422, UpstreamRejectedError),
        (429, UpstreamRateLimitedError),
        (500, UpstreamUnavailableError),
        (502, UpstreamUnavailableError),
        (503, UpstreamUnavailableError),
        (504, UpstreamTimeoutError),
        (529, UpstreamUnavailableError),
    ],
)
def test_status(status: int, wanted: type[UpstreamError]) -> None:
    error = status_error("p", status, {"content-type": "application/json"}, _BODY)
    assert type(error) is wanted
    assert error.facts["provider"] == "p"
    callers_fault = wanted is UpstreamRejectedError
    assert error.failover is not callers_fault
    assert error.darkens is (not callers_fault and wanted is not UpstreamRateLimitedError)


def test_only_a_rejection_tells_the_providers_words() -> None:
    for status in (401, 429, 500, 504):
        assert "hot" not in str(status_error("p", status, {}, _BODY))
    rejected = status_error("p", 422, {"content-type": "application/json"}, _BODY)
    assert isinstance(rejected, UpstreamRejectedError)
    assert str(rejected) == "Too hot."
    assert rejected.reply == UpstreamReply(422, "application/json", _BODY)
    assert rejected.facts["status"] == "422"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad</html>", b"[]", b"null", b"{}", b'{"error":{}}', b"{"],
)
def test_a_rejection_of_another_shape_is_not_relayed(body: bytes) -> None:
    rejected = status_error("p", 400, {}, body)
    assert isinstance(rejected, UpstreamRejectedError)
    assert rejected.reply == UpstreamReply(400, "", b"")
    assert str(rejected) == "The provider rejects the request with status 400."


_OPENAI = b'{"error":{"message":"m","type":"x","code":"context_length_exceeded"}}'
_LLAMA = b'{"error":{"message":"m","type":"exceed_context_size_error","code":400}}'


@pytest.mark.parametrize("body", [_OPENAI, _LLAMA])
def test_a_prompt_too_long_is_known_by_its_code(body: bytes) -> None:
    error = status_error("p", 400, {"content-type": "application/json"}, body)
    assert isinstance(error, UpstreamContextLengthError)
    assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert (error.failover, error.darkens) == (True, False)
    assert error.reply == UpstreamReply(400, "application/json", body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":{"message":"context_length_exceeded"}}'),
        (400, b'{"error":{"message":"prompt is too long: 5 tokens > 4 maximum"}}'),
        (413, _OPENAI),
        (422, _OPENAI),
    ],
)
def test_a_prompt_too_long_is_not_known_by_words_or_another_status(
    status: int, body: bytes
) -> None:
    assert type(status_error("p", status, {}, body)) is UpstreamRejectedError


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"object":"error","message":"n must be 1","type":"BadRequestError","code":400}',
            "n must be 1",
        ),
        (b'{"error":"plain text"}', "plain text"),
        (b'{"detail":"Not a model"}', "Not a model"),
        (
            b'{"detail":[{"loc":["body","n"],"msg":"bad n"},{"msg":"and more"},7]}',
            "body.n: bad n; and more",
        ),
    ],
)
def test_an_explanation_of_another_shape_is_told_in_ours(body: bytes, words: str) -> None:
    rejected = status_error("p", 422, {}, body)
    assert isinstance(rejected, UpstreamRejectedError)
    assert str(rejected) == words
    assert rejected.reply == UpstreamReply(422, "", b"")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"x","type":"invalid_request_error","code":"model_not_found"}}',
        b'{"type":"error","error":{"type":"not_found_error","message":"model: m"}}',
        b'{"error":{"message":"x","type":"NotFoundError","param":"model","code":404}}',
        b'{"object":"error","message":"x","type":"NotFoundError","param":null,"code":404}',
    ],
)
def test_a_model_that_is_not_there_is_the_providers_fault(body: bytes) -> None:
    missing = status_error("p", 404, {"content-type": "application/json"}, body)
    assert type(missing) is UpstreamModelMissingError
    assert (missing.failover, missing.darkens) == (True, False)
    assert missing.reply.status == 404
    assert type(status_error("p", 400, {}, body)) is UpstreamRejectedError


def test_a_long_message_is_cut() -> None:
    body = b'{"error":{"message":"' + b"x" * 5000 + b'"}}'
    assert len(str(status_error("p", 400, {}, body))) == 1000


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tells_when_to_come_back(status: int) -> None:
    assert status_error("p", status, {"retry-after": "3"}, b"").retry_after_s == 3


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "1e300"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 32 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wanted: float | None) -> None:
    assert retry_after_s(headers) == wanted


def test_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    for date in (format_datetime(later, usegmt=True), formatdate(time.time() + 100, usegmt=True)):
        seconds = retry_after_s({"retry-after": date})
        assert seconds is not None
        assert 90 < seconds <= 100


@given(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} (Jan|Dec) \d{1,5} \d\d:\d\d:\d\d [+-]?\w{0,5}"),
    )
)
def test_retry_after_never_fails(value: str) -> None:
    seconds = retry_after_s({"retry-after": value, "retry-after-ms": value})
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S
