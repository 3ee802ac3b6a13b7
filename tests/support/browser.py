"""A real browser for tests: Chromium, driven over its own driver, both of this machine."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")
PATIENCE_S = 15.0

# Alone on this machine's loopback, and quiet towards the world.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Browser:
    """One window. `origin` is where the page under test is."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.origin = ""

    def open(self, origin: str, view: str = "") -> None:
        """Opens the dashboard as a new visitor."""
        self.origin = origin
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd(
            "Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"}
        )
        self.driver.get(f"{origin}/dashboard")
        self.driver.execute_script("sessionStorage.clear()")
        self.driver.get("about:blank")
        self.forget()
        self.driver.get(f"{origin}/dashboard{f'#{view}' if view else ''}")

    def forget(self) -> None:
        """Drops what was logged until now."""
        for kind in ("browser", "performance"):
            self._logged(kind)

    def go(self, view: str) -> None:
        """Follows the link to a view."""
        self.one(f'#nav a[href="#{view}"]').click()

    def one(self, css: str) -> WebElement:
        """The first element that is there; waits for it."""
        return self.until(lambda: next(iter(self.all(css)), None), css)

    def all(self, css: str) -> list[WebElement]:
        """All that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """What is written in the first such element, if there is one; hidden parts too."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        told: str = self.driver.execute_script(script, css)
        return told

    def sees(self, css: str, words: str) -> None:
        """Waits until these words are in such an element."""
        self.until(lambda: words in self.text(css), f"{words!r} in {css}")

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        """What the condition gives once it is true; fails after PATIENCE_S."""
        wait = WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.05)
        found = wait.until(lambda _: condition(), f"it did not come true: {what}")
        assert found is not None
        return found

    def press(self, *keys: str) -> None:
        """Presses keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab(self) -> str:
        """Moves the focus on; tells where it is, by its name."""
        self.press(Keys.TAB)
        return self.focus()

    def focus(self) -> str:
        """The focused element's label, text or id."""
        script = (
            "const e = document.activeElement;"
            "return (e.getAttribute('aria-label') || e.id || e.value || e.textContent).trim()"
        )
        told: str = self.driver.execute_script(script)
        return told

    def size(self, width: int, height: int) -> None:
        """Makes the page so large, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """Media features, such as `color_scheme="dark"`."""
        told = [{"name": f"prefers-{n.replace('_', '-')}", "value": v} for n, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})

    def errors(self) -> list[str]:
        """What the console complained of since the last look."""
        return self._logged("browser")

    def asked(self) -> Sequence[str]:
        """The addresses asked for since the last look."""
        events: Iterator[Any] = (
            json.loads(text)["message"] for text in self._logged("performance")
        )
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _logged(self, kind: str) -> list[str]:
        # Its client is not typed.
        driver: Any = self.driver
        return [entry["message"] for entry in driver.get_log(kind)]

    def strangers(self, asked: Sequence[str]) -> list[str]:
        """Of these addresses, those that are not the page's own origin."""
        own = urlsplit(self.origin).netloc
        return [url for url in asked if urlsplit(url).netloc != own]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a past; skips without Chromium, unless AILB_TEST_BROWSER=1 wants it."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "Debian's packages chromium and chromium-driver are not installed"
        assert os.environ.get("AILB_TEST_BROWSER") != "1", reason
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = program
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        started = Chrome(options=options, service=Service(driver))
        try:
            yield Browser(started)
        finally:
            started.quit()
