"""Addresses of the load balancer's settings, and its files of TLS."""

import pytest
from pydantic import ValidationError

from ailb_server.settings import Settings


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ailb-7.internal", "ailb-7.internal"),
        ("10.0.3.7:6000", "10.0.3.7:6000"),
        ("[fd00::7]", "[fd00::7]"),
        ("[fd00::7]:6000", "[fd00::7]:6000"),
        ("fd00::7", "[fd00::7]"),
        ("::1", "[::1]"),
    ],
)
def test_where_an_instance_is_reached(given: str, kept: str) -> None:
    assert Settings.model_validate({"module_address": given}).module_address == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"nlb_address": "nlb"},
        {"nlb_address": "http://nlb:1"},
        {"nlb_address": "nlb:0"},
        {"nlb_address": "nlb:70000"},
        {"nlb_address": "fd00::7"},
        {"nlb_address": "a b:1"},
        {"module_address": "host:"},
        {"module_address": "host/path"},
        {"module_rest_address": "envoy"},
        {"nlb_heartbeat_s": 0},
        {"nlb_tls": True, "nlb_tls_cert_file": "c.pem"},
        {"nlb_tls": True, "nlb_tls_key_file": "k.pem"},
        {"nlb_tls_ca_file": "ca.pem"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)
