"""Which requests share an answer: those that are the same to the byte, and no others."""

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import assume, given
from hypothesis import strategies as st

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.principal import Principal
from ailb_server.pipeline.digests import cache_digest, once_digest, once_name
from ailb_server.pipeline.wishes import NO_WISHES, CallWishes
from tests.unit.doubles import chat

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["messages", "system", "tools", "temperature", "seed", "max_tokens", "stream", "of_tomorrow"]
)


def request_of(fields: dict[str, Any]) -> ChatRequest:
    return replace(chat(), body=orjson.dumps({"model": "m", **fields}), fields=fields)


def digest(request: ChatRequest, wishes: CallWishes = NO_WISHES) -> bytes:
    return cache_digest(request, wishes, ["p/m"])


@given(st.dictionaries(NAMES, JSON), NAMES, JSON)
def test_any_field_that_changes_changes_the_digest(
    fields: dict[str, Any], name: str, value: Any
) -> None:
    changed = {**fields, name: value}
    assume(orjson.dumps(changed) != orjson.dumps(fields))
    assert digest(request_of(changed)) != digest(request_of(fields))
    assert once_digest(request_of(changed)) != once_digest(request_of(fields))
    assert digest(request_of(fields)) == digest(request_of(dict(fields)))


def test_the_order_of_names_counts() -> None:
    # In a schema it is the order in which a model writes.
    one, other = (request_of({"a": 1, "b": 2}), request_of({"b": 2, "a": 1}))
    assert digest(one) != digest(other)


def test_what_is_not_in_the_body_counts() -> None:
    request = chat()
    others = [
        digest(request, CallWishes(who=Principal(tenant_id=2))),
        digest(request, CallWishes(strategy="random")),
        cache_digest(request, NO_WISHES, ["p/other"]),
        cache_digest(request, NO_WISHES, ["p/m", "q/m"]),
        digest(replace(request, operation=Operation.COMPLETION)),
        digest(replace(request, wire="anthropic")),
        digest(replace(request, stream=True)),
        digest(replace(request, model="n")),
        digest(replace(request, headers={"anthropic-beta": "x"})),
    ]
    assert len({digest(request), *others}) == len(others) + 1


def test_what_does_not_matter_does_not_count() -> None:
    wishes = CallWishes(who=Principal(key_id=9), request_id="r", time_left_s=3.0, session_id="s")
    assert digest(chat(), wishes) == digest(chat())


@given(st.text(max_size=255), st.text(max_size=255))
def test_names_are_of_a_tenant_a_key_and_a_header(one: str, other: str) -> None:
    assume(one != other)
    who = Principal(tenant_id=3, key_id=4)
    names = {
        once_name(CallWishes(who=caller), text)
        for text in (one, other)
        for caller in (who, replace(who, tenant_id=5), replace(who, key_id=None))
    }
    assert len(names) == 6
