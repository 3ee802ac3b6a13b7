"""For hands without a mouse, eyes that need contrast, and ears."""

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.e2e.dashboard.conftest import say
from tests.e2e.dashboard.test_views import VIEWS
from tests.support.browser import Browser
from tests.support.stack import Stack

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
# What can be worked with, and must therefore have a name.
ROLES = {"button", "link", "textbox", "combobox", "radio", "slider", "spinbutton", "region", "log"}
LIGHT, DARK = "rgb(246, 245, 242)", "rgb(15, 17, 19)"


def show(page: Browser, view: str) -> None:
    page.driver.execute_script("location.hash = arguments[0]", view)
    page.until(lambda: not page.all(".bone"), "figures")


def paper(page: Browser) -> str:
    told: str = page.driver.execute_script(
        "return getComputedStyle(document.documentElement).backgroundColor"
    )
    return told


def test_the_keyboard_reaches_everything(page: Browser, locked: Stack) -> None:
    say(locked, session_id="by-keyboard")
    page.driver.refresh()
    page.sees("#about", "Instance")
    assert page.tab() == "skip"
    names = [page.tab() for _ in range(6)]
    assert names == [
        "Overview",
        "Targets",
        "Routing",
        "Spend",
        "Memory & knowledge",
        "Playground",
    ]
    page.press(Keys.SHIFT + Keys.TAB)
    page.press(Keys.ENTER)
    page.sees("#title", "Memory & knowledge")
    page.sees("#view", "by-keyboard")
    reached = [page.tab() for _ in range(8)]
    assert "auto" in reached
    assert "sign-out" in reached
    assert "Pause updates" in reached
    assert "Sessions" in reached
    page.until(lambda: page.tab() == "by-keyboard", "the session's name")
    page.press(Keys.ENTER)
    page.sees("#drawer-body", "hello")
    assert page.focus() == "Close"
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.one("#drawer").is_displayed(), "a closed drawer")
    assert page.focus() == "by-keyboard"


def test_the_skip_link_leads_to_the_content(page: Browser) -> None:
    page.driver.refresh()
    page.sees("#about", "Instance")
    page.tab()
    page.press(Keys.ENTER)
    assert page.focus() == "content"
    assert page.tab() == "Pause updates"


def test_a_chart_can_be_walked(page: Browser, locked: Stack) -> None:
    say(locked)
    page.until(lambda: page.all(".chart rect.bar-ok"), "a bar")
    chart = page.one(".chart")
    page.driver.execute_script("arguments[0].focus()", chart)
    page.press(Keys.END)
    assert "Answered" in page.text(".chart .tip")
    first = chart.get_attribute("aria-valuetext")
    page.press(Keys.ARROW_LEFT)
    assert chart.get_attribute("aria-valuetext") != first
    page.press(Keys.ESCAPE)
    assert not page.one(".chart .tip").is_displayed()


def test_dark_follows_the_system_until_something_is_chosen(page: Browser) -> None:
    assert paper(page) == LIGHT
    page.prefer(color_scheme="dark")
    assert paper(page) == DARK
    page.one("#theme input[value=light]").send_keys(Keys.SPACE)
    assert paper(page) == LIGHT
    page.driver.refresh()
    page.sees("#about", "Instance")
    assert paper(page) == LIGHT
    page.one("#theme input[value=auto]").send_keys(Keys.SPACE)
    assert paper(page) == DARK


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Browser, locked: Stack, scheme: str) -> None:
    say(locked, session_id="contrast")
    page.prefer(color_scheme=scheme, reduced_motion="reduce")
    for view in VIEWS:
        show(page, view)
        faint = page.driver.execute_script(CONTRAST)
        assert faint == [], view


def test_reduced_motion_is_heeded(page: Browser) -> None:
    page.prefer(reduced_motion="reduce")
    script = "return document.getAnimations().filter((each) => each.playState === 'running').length"
    assert page.driver.execute_script(script) == 0


def test_whatever_can_be_worked_with_has_a_name(page: Browser, locked: Stack) -> None:
    say(locked, session_id="named")
    for view in VIEWS:
        show(page, view)
        tree: Any = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
        nameless = [
            json.dumps(node["role"])
            for node in tree["nodes"]
            if not node.get("ignored")
            and node.get("role", {}).get("value") in ROLES
            and not node.get("name", {}).get("value", "").strip()
        ]
        assert nameless == [], view
        assert len(page.all("h1")) == 2, "the gate's, which is hidden, and the page's"
