"""Tokens of pages: what was given comes back, and nothing else is taken."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.api.page_token import checked_size, page_token, values_of
from ailb_server.domain.errors import InvalidRequestError


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=3))
def test_what_was_given_comes_back(values: list[int]) -> None:
    token = page_token("k", *values)
    assert values_of(token, "k", len(values)) == values
    for kind, count in (("j", len(values)), ("k", len(values) + 1)):
        with pytest.raises(InvalidRequestError):
            values_of(token, kind, count)


@given(st.text(min_size=1))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError):
        values_of(token, "k", 1)


@pytest.mark.parametrize("values", ['["k",1.5]', '["k",true]', '["k",9223372036854775808]', "{}"])
def test_odd_numbers_are_refused(values: str) -> None:
    with pytest.raises(InvalidRequestError):
        values_of(base64.urlsafe_b64encode(values.encode()).decode(), "k", 1)


def test_sizes() -> None:
    assert values_of("", "k", 1) is None
    assert [checked_size(size) for size in (0, 1, 1000)] == [100, 1, 1000]
    for size in (-1, 1001):
        with pytest.raises(InvalidRequestError):
            checked_size(size)
