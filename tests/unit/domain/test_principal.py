"""What a principal may use."""

import pytest

from ailb_server.domain.errors import PermissionDeniedError
from ailb_server.domain.principal import ANYONE, Principal, Role


@pytest.mark.parametrize(
    ("allowed", "name", "may"),
    [
        ((), "anything", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-4o",), "openai/gpt-4o", False),
        (("gpt-*", "demo"), "gpt-4o-mini", True),
        (("openai/*",), "openai/gpt-4o", True),
        (("demo-?",), "demo-12", False),
        (("demo.x",), "demo-x", False),
    ],
)
def test_patterns(allowed: tuple[str, ...], name: str, *, may: bool) -> None:
    who = Principal(allowed_models=allowed, allowed_collections=allowed)
    assert who.may_use(name) is may
    assert who.may_read(name) is may
    if not may:
        with pytest.raises(PermissionDeniedError):
            who.require_model(name)
        with pytest.raises(PermissionDeniedError):
            who.require_collection(name)


def test_a_principal_is_no_admin_unless_it_says_so() -> None:
    assert Principal().role is Role.USER
    assert ANYONE.role is Role.ADMIN
    assert ANYONE.may_use("m")
