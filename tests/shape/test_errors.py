"""The reasons of an error: proto, domain and table name the same ones and tell the same of them."""

import pytest

from ailb.v1 import error_reason_pb2
from ailb_server.api.errors import TABLE
from ailb_server.domain import errors
from ailb_server.domain.errors import AilbError, Reason
from docs.generator.errors import comments
from tests.shape.sources import REPOSITORY

PREFIX = "ERROR_REASON_"
ENUM = error_reason_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"]
PROTO = {value.name.removeprefix(PREFIX) for value in ENUM.values if value.number}


def test_proto_domain_and_table_have_the_same_reasons() -> None:
    assert {reason.value for reason in Reason} == PROTO
    assert set(TABLE) == set(Reason)


def test_each_reason_is_raised_as_one_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    reasons = [vars(k)["reason"] for k in kinds if issubclass(k, AilbError) and "reason" in vars(k)]
    assert sorted(reasons) == sorted(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_the_proto_tells_code_status_and_an_example(reason: Reason) -> None:
    comment, row = comments(REPOSITORY)[reason.value], TABLE[reason]
    status = "the provider's" if reason is Reason.UPSTREAM_REJECTED else row.http
    assert f"{row.grpc.name}, HTTP" in comment
    assert f"{status}" in comment.partition("HTTP")[2].partition("Example")[0]
    assert f'{{"reason": "{reason.value}", "domain": "ailb", "metadata": {{' in comment
