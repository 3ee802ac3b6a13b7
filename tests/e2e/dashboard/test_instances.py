"""Several instances behind one address: each one's figures, by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from selenium.webdriver.support.ui import Select

from ailb_server.local.envoy import EmbeddedEnvoy
from tests.e2e.dashboard.conftest import say
from tests.e2e.dashboard.test_views import row
from tests.support.browser import Browser
from tests.support.stack import Stack, free_port


@contextmanager
def together(*stacks: Stack) -> Iterator[str]:
    """One address for all of them."""
    ports = tuple(int(stack.grpc.rpartition(":")[2]) for stack in stacks)
    port = free_port()
    envoy = EmbeddedEnvoy(host="127.0.0.1", port=port, upstream_ports=ports)
    loop = stacks[0].loop
    loop.run(envoy.start())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.run(envoy.stop())


def told(browser: Browser, requests: str) -> bool:
    return row(browser, "openai/demo")[2:3] == [requests]


def test_each_is_shown_by_its_name(browser: Browser, postgres_dsn: str) -> None:
    with (
        Stack(postgres_dsn, settings={"module_id": "one"}) as one,
        Stack(postgres_dsn, settings={"module_id": "two"}) as two,
        together(one, two) as address,
    ):
        say(one)
        for _ in range(4):
            say(two)
        browser.open(address, "targets")
        browser.until(lambda: len(browser.all("#instance option")) == 2, "both instances")
        for name, requests in (("two", "4"), ("one", "1"), ("two", "4")):
            Select(browser.one("#instance")).select_by_value(name)
            browser.until(partial(told, browser, requests), name)
        browser.driver.get("about:blank")
