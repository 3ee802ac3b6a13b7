"""One browser for all tests here, one stack that asks for keys, and what every test must leave."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from ailb_server.settings import ProviderSettings
from tests.support.browser import Browser, chromium
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack

ADMIN = "an-administrators-own-secret"
WIDE = (1440, 900)
# Named by whoever runs the provider.
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser) -> Iterator[Browser]:
    """As large as a desk's, and light. The page may complain of nothing and ask nobody else."""
    chrome.size(*WIDE)
    chrome.prefer(color_scheme="light")
    yield chrome
    asked = chrome.asked()
    assert chrome.strangers(asked) == []
    assert [url for url in asked if ADMIN in url] == []
    assert chrome.errors() == []


@pytest.fixture(scope="session")
def locked(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys, with prices and a model of a hostile name."""
    sql(postgres_server, "CREATE DATABASE dashboard OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "dashboard")
    settings = {
        "require_api_key": True,
        "admin_api_key": ADMIN,
        "module_id": "ailb-test",
        "unknown_price": 10_000_000,
    }
    odd = ProviderSettings.model_validate(
        {"name": "odd", "base_url": "http://127.0.0.1:9/v1", "models": (HOSTILE,)}
    )
    with Stack(dsn, settings=settings, extra=(odd,)) as running:
        yield running
    sql(postgres_server, "DROP DATABASE dashboard WITH (FORCE)", role="postgres")


@pytest.fixture
def page(browser: Browser, locked: Stack) -> Browser:
    """The dashboard, entered with the admin's key."""
    browser.open(locked.rest)
    enter(browser, ADMIN)
    browser.sees("#about", "Instance")
    return browser


def enter(browser: Browser, key: str) -> None:
    """Writes a key into the gate."""
    field = browser.one("#gate-key")
    browser.until(field.is_displayed, "the gate")
    field.clear()
    field.send_keys(key, Keys.ENTER)


def ask(stack: Stack, path: str, key: str = ADMIN, **body: Any) -> Any:
    """The JSON that a POST is answered with."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(stack.rest + path, data, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


def say(stack: Stack, text: str = "hello", **fields: Any) -> Any:
    """A chat."""
    messages = [{"role": "user", "content": text}]
    return ask(stack, "/v1/chat/completions", **{"model": "demo", "messages": messages, **fields})
