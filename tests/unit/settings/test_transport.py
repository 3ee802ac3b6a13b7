"""The settings of TLS, browsers and load balancers."""

import ipaddress
from pathlib import Path

import pytest

from ailb_server.settings import SettingsError, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CORS_ALLOWED_ORIGINS", "MODULE_ALLOWED_CIDRS", "REQUIRE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("TLS_CERT_FILE", "TLS_KEY_FILE"),
        ("TLS_KEY_FILE", "TLS_CERT_FILE"),
        ("TLS_CLIENT_CA_FILE", "TLS_CERT_FILE"),
        ("TLS_CLIENT_CERT_FILE", "TLS_CLIENT_KEY_FILE"),
        ("ENVOY_TLS_CERT_FILE", "ENVOY_TLS_KEY_FILE"),
        ("ENVOY_TLS_CLIENT_CA_FILE", "ENVOY_TLS_CERT_FILE"),
    ],
)
def test_half_a_pair_is_refused(monkeypatch: pytest.MonkeyPatch, given: str, missing: str) -> None:
    monkeypatch.setenv(given, "/somewhere.pem")
    with pytest.raises(SettingsError) as refused:
        load()
    assert refused.value.faults == (f"{missing}: is needed with {given}",)


def test_load_balancers_are_on_this_machine_by_default() -> None:
    networks = load().settings.module_allowed_cidrs
    assert [str(network) for network in networks] == ["127.0.0.0/8", "::1/128"]


def test_networks_are_listed_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODULE_ALLOWED_CIDRS", "10.1.0.0/16, 192.0.2.7,2001:db8::/32")
    assert load().settings.module_allowed_cidrs == (
        ipaddress.ip_network("10.1.0.0/16"),
        ipaddress.ip_network("192.0.2.7/32"),
        ipaddress.ip_network("2001:db8::/32"),
    )
    monkeypatch.setenv("MODULE_ALLOWED_CIDRS", "none")
    assert load().settings.module_allowed_cidrs == ()


@pytest.mark.parametrize("cidrs", ["10.1.0.1/16", "loopback", "10.0.0.0/33", "none,10.0.0.0/8"])
def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch, cidrs: str) -> None:
    monkeypatch.setenv("MODULE_ALLOWED_CIDRS", cidrs)
    with pytest.raises(SettingsError, match="MODULE_ALLOWED_CIDRS"):
        load()


@pytest.mark.parametrize(
    "origins",
    ["https://a.example", "https://a.example,http://localhost:3000", "http://[::1]:8080", "*"],
)
def test_origins(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", origins)
    assert ",".join(load().settings.cors_allowed_origins) == origins


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://A.example",
        "https://user@a.example",
        "https://*.a.example",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example:x",
        "https://a.example:99999",
        "https://",
        "a.example",
        "ftp://a.example",
        "null",
        "*,https://a.example",
    ],
)
def test_what_no_browser_sends_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", origin)
    with pytest.raises(SettingsError, match="CORS_ALLOWED_ORIGINS"):
        load()


def test_every_page_on_an_open_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", "*")
    load()
    monkeypatch.setenv("REQUIRE_API_KEY", "false")
    with pytest.raises(SettingsError, match="CORS_ALLOWED_ORIGINS"):
        load()
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", "https://a.example")
    load()
