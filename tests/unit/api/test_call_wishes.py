"""What a call says beside its body."""

from typing import Any

import pytest

from ailb_server.api.call import Call, current_call
from ailb_server.api.call_wishes import cache_wish, call_wishes, idempotency_key
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.repeats import CacheWish
from tests.unit.doubles import FakeContext


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("on", CacheWish()),
        (" On ", CacheWish()),
        ("60", CacheWish(60)),
        ("2592000", CacheWish(2_592_000)),
        ("off", CacheWish(reads=False, stores=False)),
        ("no-store", CacheWish(stores=False)),
        ("", None),
    ],
)
def test_wishes_for_the_cache(text: str, wish: CacheWish | None) -> None:
    assert cache_wish(text) == wish


@pytest.mark.parametrize("text", ["yes", "0", "-1", "1.5", "2592001", "9" * 99, "60s", "٦٠"])
def test_what_is_no_wish(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        cache_wish(text)
    assert refused.value.facts == {"param": "x-ailb-cache"}


def test_idempotency_keys() -> None:
    assert idempotency_key("x" * 255) == "x" * 255
    for text in ("", "x" * 256):
        with pytest.raises(InvalidRequestError):
            idempotency_key(text)


def test_they_are_read_from_metadata() -> None:
    current_call.set(Call("r", rest=False))
    told = (
        ("idempotency-key", "k"),
        ("x-ailb-cache", "9"),
        ("x-session-id", "s"),
        ("x-ailb-routing-strategy", "random"),
        ("other", "x"),
    )
    context: Any = FakeContext(told, time_left_s=3.0)
    wishes = call_wishes(context)
    assert (wishes.idempotency_key, wishes.cache, wishes.asks_cache) == ("k", CacheWish(9), True)
    assert (wishes.session_id, wishes.strategy, wishes.time_left_s) == ("s", "random", 3.0)
    plain: Any = FakeContext()
    assert not call_wishes(plain).asks_cache
    assert call_wishes(plain).idempotency_key is None
