"""Secrets: made, recognised, digested."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.access.secret import Digester, fingerprint, is_secret, new_secret, pepper_of, shown


def test_a_secret_is_letters_and_digits_and_never_the_same() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"ailb_[0-9A-Za-z]{49}", secret) for secret in made)
    assert all(is_secret(secret) for secret in made)


@given(st.integers(min_value=5, max_value=53), st.sampled_from("0Zz"))
def test_a_mistyped_secret_is_told_without_asking(place: int, other: str) -> None:
    secret = new_secret()
    if secret[place] != other:
        assert not is_secret(secret[:place] + other + secret[place + 1 :])


@pytest.mark.parametrize("text", ["", "ailb_", "sk-proj-1", "ailb_" + "a" * 49, "ä" * 54])
def test_what_is_none(text: str) -> None:
    assert not is_secret(text)


def test_what_is_shown_leaves_enough_to_guess() -> None:
    secret = new_secret()
    assert shown(secret) == secret[:11]
    assert (len(secret) - 6 - 11) * 5.95 > 220


def test_digests_depend_on_the_pepper_and_show_nothing() -> None:
    secret = new_secret()
    one, other = Digester(pepper_of("one pepper")), Digester(pepper_of("another pepper"))
    assert one.digest(secret) == one.digest(secret) != other.digest(secret)
    kept = one.kept(secret)
    assert secret not in repr(kept)
    assert kept.digest.hex() not in repr(kept)
    assert repr(kept.digest) not in repr(kept)


def test_a_fingerprint_is_not_the_pepper() -> None:
    pepper = pepper_of("a pepper")
    assert fingerprint(pepper) != pepper
    assert fingerprint(pepper) == fingerprint(pepper_of("a pepper"))
    assert fingerprint(pepper) != fingerprint(pepper_of("b pepper"))
