"""The error table is complete, is the documented one, and fits into what carries it."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import error_reason_pb2
from ailb_server.api import errors
from ailb_server.domain import errors as domain
from ailb_server.domain.errors import AilbError, Reason

_PROTO = Path(__file__).parents[3] / "proto/ailb/v1/error_reason.proto"
_PREFIX = "ERROR_REASON_"
# What a gRPC client accepts by default, headers' own 32 bytes each included.
_METADATA_LIMIT = 8192
# "Responses", in gRPC's PROTOCOL-HTTP2.md: what percent-encoding leaves alone.
_UNQUOTED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def _documented() -> dict[str, str]:
    text = _PROTO.read_text()
    found = re.findall(rf"((?:^  //.*\n)+)^  {_PREFIX}(\w+) = \d+;", text, re.MULTILINE)
    return {name: comment for comment, name in found if name != "UNSPECIFIED"}


def _error_classes() -> dict[Reason, type[AilbError]]:
    """Those that are raised: the leaves of the tree, and InvalidRequestError."""
    seen, found = [AilbError], {}
    while seen:
        cls = seen.pop()
        seen += cls.__subclasses__()
        if "reason" in vars(cls):
            found[cls.reason] = cls
    return found


def test_reasons_are_the_protos() -> None:
    names = {name.removeprefix(_PREFIX) for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert {reason.value for reason in Reason} == names - {"UNSPECIFIED"}
    assert all(reason.name == reason.value for reason in Reason)


def test_every_reason_has_a_row_and_a_class() -> None:
    assert set(errors.TABLE) == set(Reason) == set(_error_classes())


@pytest.mark.parametrize("reason", Reason)
def test_the_protos_comment_says_what_the_table_does(reason: Reason) -> None:
    comment, row = _documented()[reason.value], errors.TABLE[reason]
    told = re.search(r"\. ([A-Z_]+), HTTP(?: (\d+)|: the provider's status)", comment)
    assert told, comment
    assert told[1] == row.grpc.name
    if reason is Reason.UPSTREAM_REJECTED:
        assert told[2] is None
    else:
        assert int(told[2]) == row.http


@pytest.mark.parametrize("reason", Reason)
def test_the_protos_example_is_of_its_reason(reason: Reason) -> None:
    line = re.search(r"Example: (\{.*\})", _documented()[reason.value])
    assert line
    example = json.loads(line[1])
    assert example["reason"] == reason.value
    assert example["domain"] == errors.DOMAIN
    assert set(example) == {"reason", "domain", "metadata"}


def _rejected(body: bytes, status: int = 422) -> domain.UpstreamRejectedError:
    reply = domain.UpstreamReply(status, "application/json", body)
    return domain.UpstreamRejectedError("Too hot.", reply, provider="p")


@pytest.mark.parametrize(
    ("error", "status", "wanted"),
    [
        (
            domain.InvalidRequestError("`n` must be an integer.", param="n"),
            400,
            {
                "message": "`n` must be an integer.",
                "type": "invalid_request_error",
                "param": "n",
                "code": None,
            },
        ),
        (
            domain.UpstreamTimeoutError("Late.", provider="p"),
            504,
            {"message": "Late.", "type": "server_error", "param": None, "code": "upstream_timeout"},
        ),
        (
            _rejected(b""),
            422,
            {
                "message": "Too hot.",
                "type": "invalid_request_error",
                "param": None,
                "code": "upstream_rejected",
            },
        ),
    ],
)
def test_rest_errors_have_openais_shape(
    error: AilbError, status: int, wanted: dict[str, str | None]
) -> None:
    assert errors.http_status(error) == status
    assert json.loads(errors.openai_body(error)) == {"error": wanted}


def test_a_providers_own_body_is_relayed() -> None:
    body = b'{"error": {"message": "x",  "own": 1e3}}'
    assert errors.openai_body(_rejected(body)) == body
    assert errors.http_status(_rejected(body, 413)) == 413


def test_grpc_errors_carry_error_info_and_retry_info() -> None:
    status = errors.rpc_status(
        domain.UpstreamRateLimitedError("Slow down.", retry_after_s=1.5, provider="p")
    )
    assert (status.code, status.message) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        "Slow down.",
    )
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (info.reason, info.domain) == ("UPSTREAM_RATE_LIMITED", "ailb")
    assert dict(info.metadata) == {"provider": "p"}
    assert retry.retry_delay == duration_pb2.Duration(seconds=1, nanos=500_000_000)


def test_no_retry_info_if_nobody_knows_when() -> None:
    error = domain.OverloadedError("Full.")
    assert len(errors.rpc_status(error).details) == 1
    assert errors.response_metadata(error) == []


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "0"), (0.2, "1"), (3.0, "3"), (3.01, "4")])
def test_retry_after_is_rounded_up(seconds: float, told: str) -> None:
    error = domain.RateLimitExceededError("x", retry_after_s=seconds)
    assert errors.response_metadata(error) == [("retry-after", told)]


def test_a_fault_of_ours_is_told_by_its_request_id_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(message: str) -> None:
        raise ValueError(message)

    # Not in the source as such, because a traceback quotes the source.
    prompt = " ".join(("my", "secret"))
    try:
        fail(prompt)
    except ValueError as error:
        told = errors.as_ailb_error(error, "r-1")
    assert isinstance(told, domain.InternalError)
    assert told.facts == {"request_id": "r-1"}
    everything = caplog.text + str(told) + errors.openai_body(told).decode()
    assert prompt not in everything
    assert "r-1" in str(told)
    assert "ValueError" in caplog.text
    assert "in fail" in caplog.text


def test_an_error_for_the_caller_stays_itself() -> None:
    error = domain.ModelNotFoundError("x")
    assert errors.as_ailb_error(error, "r-1") is error


def _metadata_bytes(error: AilbError) -> int:
    status = errors.rpc_status(error)
    pairs = [
        ("grpc-message", quote(status.message, safe=_UNQUOTED)),
        ("grpc-status", "00"),
        ("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode()),
        ("x-request-id", "r" * 128),
        *errors.response_metadata(error),
        *errors.rest_metadata(error),
    ]
    return sum(len(name) + len(value) + 32 for name, value in pairs)


_LONG = st.sampled_from(["a", "é", "漢", "😀", '"', "\\", "\n", "\x00", "%", "a漢"]).flatmap(
    lambda piece: st.integers(0, 5000).map(lambda times: piece * times)
)


@given(message=_LONG, param=_LONG)
def test_any_message_fits_into_metadata(message: str, param: str) -> None:
    error = domain.InvalidRequestError(message, param=param, retry_after_s=1)
    assert _metadata_bytes(error) < _METADATA_LIMIT
    assert message.startswith(errors.rpc_status(error).message)


def test_a_usual_message_is_not_cut() -> None:
    message = "The provider's words, 100 % of them. " * 20
    assert errors.rpc_status(domain.InvalidRequestError(message)).message == message
