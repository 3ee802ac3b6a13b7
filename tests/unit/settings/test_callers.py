"""The settings of callers and their keys."""

from pathlib import Path

import pytest

from ailb_server.settings import SettingsError, load
from ailb_server.settings.loopback import is_loopback

SECRET = "a-secret-of-enough-characters"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOST", "REQUIRE_API_KEY", "ALLOW_UNAUTHENTICATED", "ADMIN_API_KEY", "KEY_PEPPER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.0.2.7", False),
        ("gateway.example", False),
    ],
)
def test_an_open_server_on_an_address_of_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: str, *, loopback: bool
) -> None:
    assert is_loopback(host) is loopback
    monkeypatch.setenv("HOST", host)
    load()
    monkeypatch.setenv("REQUIRE_API_KEY", "false")
    if loopback:
        load()
    else:
        with pytest.raises(SettingsError, match="ALLOW_UNAUTHENTICATED=true"):
            load()
    monkeypatch.setenv("ALLOW_UNAUTHENTICATED", "true")
    assert load().settings.require_api_key is False


@pytest.mark.parametrize("name", ["ADMIN_API_KEY", "KEY_PEPPER"])
def test_secrets_are_long_and_are_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "too-short")
    with pytest.raises(SettingsError) as refused:
        load()
    assert refused.value.faults[0].startswith(f"{name}: ")
    assert "too-short" not in str(refused.value)
    monkeypatch.setenv(name, f" {SECRET} ")
    settings = load().settings
    assert SECRET not in repr(settings)
    secret = settings.admin_api_key or settings.key_pepper
    assert secret is not None
    assert secret.get_secret_value() == SECRET
