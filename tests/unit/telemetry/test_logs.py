"""Log lines: one JSON object each."""

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress

import orjson
import pytest

from ailb_server.demo.server import DemoServer
from ailb_server.domain.errors import AilbError
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from ailb_server.telemetry import logs

KEY = "sk-very-secret"
HEADERS = {"x-team": "x-team-secret"}


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


@pytest.fixture(params=["json", "text"])
def log_format(request: pytest.FixtureRequest) -> Iterator[logs.LogFormat]:
    """Loggers that are put back."""
    root, own = logging.getLogger(), logging.getLogger("ailb_server")
    before = (root.level, own.level, list(root.handlers))
    chosen: logs.LogFormat = request.param
    yield chosen
    for handler in set(root.handlers) - set(before[2]):
        handler.close()
    root.setLevel(before[0])
    own.setLevel(before[1])
    root.handlers = before[2]


def _told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written, once the thread that writes is done."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return capsys.readouterr().err


def test_the_level_is_for_our_own_lines(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", log_format)
    logging.getLogger("ailb_server.some.module").debug("ours")
    logging.getLogger("ailb_server_of_another").info("not ours")
    logging.getLogger("asyncio").warning("theirs, serious")
    logging.getLogger("asyncio").info("theirs")
    lines = _told(capsys).splitlines()
    assert [line.startswith("{") for line in lines] == [log_format == "json"] * 2
    assert "ours" in lines[0]
    assert "serious" in lines[1]


def test_errors_only_means_everybodys(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("error", log_format)
    logging.getLogger("ailb_server.some.module").warning("ours")
    logging.getLogger("asyncio").warning("theirs")
    assert _told(capsys) == ""


def test_the_level_changes_while_it_runs(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("warning", log_format)
    log = logging.getLogger("ailb_server.some.module")
    log.info("quiet")
    logs.set_level("debug")
    assert logs.level() == "debug"
    log.debug("loud")
    logging.getLogger("asyncio").debug("theirs")
    logs.set_level("error")
    log.warning("quiet again")
    told = _told(capsys)
    assert "loud" in told
    assert "quiet" not in told
    assert "theirs" not in told
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        logs.set_level("verbose")


def test_a_line_has_its_own_fields_and_those_of_the_instance(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", log_format, {"module_id": "ailb-7", "version": "1"})
    told = {"fields": {"status": 200, "model": "m\n", "absent": None}}
    logging.getLogger("ailb_server.x").info("call", extra=told)
    (line,) = _told(capsys).splitlines() if log_format == "json" else (_told(capsys),)
    if log_format == "json":
        found = orjson.loads(line)
        assert found.pop("time")
        assert found == {
            "level": "info",
            "logger": "ailb_server.x",
            "message": "call",
            "status": 200,
            "model": "m\n",
            "module_id": "ailb-7",
            "version": "1",
        }
    else:
        assert "ailb_server.x: call status=200 model=" in line


def test_a_line_is_of_the_request_that_told_it(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", log_format, name="ailb-7")
    token = logs.request_id.set("r-9")
    logging.getLogger("ailb_server.x").info("within")
    logs.request_id.reset(token)
    logging.getLogger("ailb_server.x").info("without")
    within, without = _told(capsys).splitlines()
    assert "r-9" in within
    assert "request_id" not in without
    assert ("ailb-7 INFO" in without) == (log_format == "text")


@pytest.mark.parametrize("their_own", [False, True])
async def test_no_line_holds_a_key_however_much_is_logged(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str], *, their_own: bool
) -> None:
    """A listing and a chat of each SDK and of aiohttp, to a server that is there and to none."""
    logs.configure("debug", log_format)
    names = ("httpx2", "httpcore2", "openai", "anthropic", "aiohttp", "grpc", "asyncio", "hpack")
    chatty = {name: logging.getLogger(name) for name in names}
    before = {name: logger.level for name, logger in chatty.items()}
    try:
        # As OPENAI_LOG=debug and ANTHROPIC_LOG=debug do it, later than we configure.
        for logger in chatty.values():
            logger.setLevel(logging.DEBUG if their_own else logging.NOTSET)
        await _call_providers()
    finally:
        for name, logger in chatty.items():
            logger.setLevel(before[name])
    told = _told(capsys)
    assert KEY not in told
    assert "x-team-secret" not in told


async def _call_providers() -> None:
    demo = DemoServer()
    url = await demo.start()
    try:
        for base_url in (url, "http://127.0.0.1:9/v1"):
            await _chat(OpenAIAccount("o", base_url, KEY, headers=HEADERS))
            # No HTTP client sends this one, and httpcore2 says what it was.
            for key in (KEY, f"{KEY}\n"):
                await _list(OpenAIAccount("o", base_url, key, headers=HEADERS))
                await _list(AnthropicAccount("a", base_url, key, headers=HEADERS))
    finally:
        await demo.stop()


async def _chat(account: OpenAIAccount) -> None:
    upstream = Upstream("p", timeouts=Timeouts(2, 2, 2, 4), pool_size=1)
    try:
        template = account.template("/chat/completions")
        with suppress(AilbError):
            async with upstream.post(template.url, template.headers, b"{}") as reply:
                await reply.read_all()
    finally:
        await upstream.close()
        await account.close()


async def _list(account: OpenAIAccount | AnthropicAccount) -> None:
    try:
        with suppress(AilbError):
            if isinstance(account, OpenAIAccount):
                await account.list_models()
            else:
                await account.models()
    finally:
        await account.close()
