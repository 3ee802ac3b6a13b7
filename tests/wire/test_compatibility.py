"""Nothing that a caller asks is lost without a word, whichever provider answers."""

from typing import Any

import pytest

from ailb_server.domain.chat import Json
from ailb_server.providers import ollama_request_wire
from tests.wire.compatibility import (
    KINDS,
    PROBES,
    Expected,
    Ignored,
    Meant,
    Outcome,
    Own,
    Probe,
    Refused,
    Sent,
    Verdict,
    audit,
    judge,
    sdk,
)
from tests.wire.compatibility.outcome import expected, request_with, translate

_EACH_KIND = pytest.mark.parametrize("kind", KINDS)
_EACH_PROBE = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: str(probe.name))


@_EACH_KIND
@_EACH_PROBE
def test_it_becomes_of_it_what_the_table_says(kind: str, probe: Probe) -> None:
    verdict = judge(kind, probe)
    assert verdict.outcome is not Outcome.DROPPED
    _check(expected(kind, probe), verdict)


@_EACH_KIND
@_EACH_PROBE
def test_no_member_is_dropped_without_a_word(kind: str, probe: Probe) -> None:
    if isinstance(expected(kind, probe), Sent | Ignored):
        assert list(audit.dropped(kind, probe)) == []


@_EACH_KIND
@_EACH_PROBE
def test_no_unknown_member_is_dropped_without_a_word(kind: str, probe: Probe) -> None:
    assert list(audit.unnoticed(kind, probe)) == []


def test_every_parameter_of_the_official_package_is_probed() -> None:
    probed = {name for probe in PROBES for name in request_with(probe)}
    assert sdk.parameters() - probed == set()


def test_every_member_of_the_official_types_is_probed() -> None:
    probed = {member for probe in PROBES for member in sdk.covered(request_with(probe))}
    assert sdk.members() - probed == set()


def test_every_word_of_the_official_parameters_is_probed() -> None:
    probed = {
        (name, word)
        for probe in PROBES
        for name, value in probe.fields.items()
        for word in (value if isinstance(value, list) else [value])
        if isinstance(word, str)
    }
    assert sdk.words() - probed == set()


def test_what_is_exempt_has_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    exempt, names_only = set(audit.EXEMPT), set(audit.NAMES_ONLY)
    monkeypatch.setattr(audit, "EXEMPT", {})
    monkeypatch.setattr(audit, "NAMES_ONLY", frozenset())
    cases = [(kind, probe) for kind in KINDS for probe in PROBES]
    heard = [(k, p) for k, p in cases if isinstance(expected(k, p), Sent | Ignored)]
    assert {path for case in heard for path in audit.dropped(*case)} == exempt
    assert {path for case in cases for path in audit.unnoticed(*case)} == names_only


def test_a_translator_that_drops_something_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama_request_wire, "asks", lambda *_: False)
    (probe,) = [probe for probe in PROBES if probe.fields == {"user": "ann"}]
    assert judge("ollama", probe).outcome is Outcome.DROPPED
    assert list(audit.dropped("ollama", probe)) == ["user"]
    assert list(audit.unnoticed("ollama", probe)) == [""]


def test_a_row_is_there_once() -> None:
    names = [probe.name for probe in PROBES]
    assert sorted(set(names)) == sorted(names)


def _check(wanted: Expected, verdict: Verdict) -> None:
    match wanted:
        case Refused(param):
            assert verdict.outcome is Outcome.REJECTED
            assert verdict.sent.refused == param
        case Ignored(names):
            assert verdict.outcome is Outcome.IGNORED
            assert verdict.ignored == set(names)
        case Meant():
            assert verdict.outcome in (Outcome.NOTHING_TO_DO, Outcome.PASSED)
            assert verdict.ignored == set()
        case Own():
            assert verdict.outcome is Outcome.OWN
        case Sent(at, names):
            assert verdict.outcome in (Outcome.PASSED, Outcome.TRANSLATED)
            assert verdict.ignored == set(names)
            assert {path: _read(verdict.sent.fields, path) for path in at} == dict(at)


def _read(value: Any, path: str) -> Json:
    for key in path.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    return value


@_EACH_KIND
@pytest.mark.parametrize("odd", [None, True, 0, "x", [], ["x"], {}, {"x": [1]}])
def test_whatever_stands_anywhere_is_sent_or_refused(kind: str, odd: Json) -> None:
    for probe in PROBES:
        for fields in audit.with_each_replaced(probe, odd):
            translate(kind, fields, probe.facts)
