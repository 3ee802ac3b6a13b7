"""Log lines: one JSON object each."""

import logging
import sys

import orjson
import pytest

from ailb_server.telemetry import logs


def _line(message: str, *, failed: bool = False) -> dict[str, str]:
    failure = None
    if failed:
        try:
            int("seven")
        except ValueError:
            failure = sys.exc_info()
    record = logging.LogRecord("a.b", logging.WARNING, "f.py", 1, message, ("x",), failure)
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    line: dict[str, str] = orjson.loads(text)
    return line


def test_a_line_says_when_what_and_for_which_call() -> None:
    token = logs.request_id.set("r-1")
    try:
        line = _line('said "%s"\n')
    finally:
        logs.request_id.reset(token)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "a.b",
        "message": 'said "x"\n',
        "request_id": "r-1",
    }


def test_a_line_outside_of_calls_has_no_request_id() -> None:
    assert "request_id" not in _line("%s")


def test_an_exception_is_in_its_line() -> None:
    assert "ValueError: invalid literal" in _line("%s", failed=True)["error"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_configures_the_root_logger(
    log_format: logs.LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.NOTSET)
    logs.configure("debug", log_format)
    (handler,) = root.handlers
    assert isinstance(handler.formatter, logs.JsonFormatter) == (log_format == "json")
    assert root.level == logging.DEBUG
    assert logging.getLogger("openai").level == logging.WARNING
