"""No text becomes markup, and the browser holds the page to its policy."""

import pytest

from tests.e2e.dashboard.conftest import HOSTILE, ask, say
from tests.support.browser import Browser
from tests.support.stack import Stack

SCRIPT = "<script>alert(2)</script>"
SESSION = "<b onclick=alert(3)>bold<b>"
# Tries what an intruder's text would; tells what was thrown, what the policy names, what it did.
POLICY = """
const done = arguments[0];
const broken = [], thrown = [];
document.addEventListener("securitypolicyviolation", (e) => broken.push(e.effectiveDirective));
const script = document.createElement("script");
const attempt = (act) => {
  try { act(); thrown.push(false); } catch { thrown.push(true); }
};
attempt(() => { document.body.innerHTML = "<p>owned</p>"; });
attempt(() => { script.textContent = "window.owned = 1"; });
document.body.setAttribute("style", "color: red");
fetch("http://127.0.0.1:9/").catch(() => {}).then(() =>
  setTimeout(() => done([thrown, broken, window.owned ?? null]), 100));
"""


def alerts(page: Browser) -> None:
    """From now on an alert is remembered and not shown."""
    page.driver.execute_script("window.alert = () => { window.hurt = true }")


def test_names_are_text(page: Browser, locked: Stack) -> None:
    key = ask(locked, "/admin/v1/keys", name=SCRIPT)["secret"]
    messages = [{"role": "user", "content": HOSTILE}]
    ask(locked, "/v1/chat/completions", key, model="demo", messages=messages)
    say(locked, HOSTILE, session_id=SESSION, user=SCRIPT)
    ask(locked, "/v1/collections", name="odd", description=HOSTILE)
    with pytest.raises(OSError, match="503"):
        say(locked, model=HOSTILE)
    alerts(page)
    page.go("targets")
    page.sees("#view", HOSTILE)
    page.go("spend")
    page.sees("#view .bars[aria-label='Spend by key']", SCRIPT)
    page.go("memory")
    page.sees("#view", SESSION)
    page.sees("#view", SCRIPT)
    next(e for e in page.all("#view .link") if e.text == SESSION).click()
    page.sees("#drawer-body", HOSTILE)
    page.one("#drawer-close").click()
    next(e for e in page.all("#view .link") if e.text == "odd").click()
    page.sees("#drawer-body", HOSTILE)
    page.one("#drawer-close").click()
    page.go("playground")
    page.sees("#play-model", HOSTILE)
    message = page.one("#play-user")
    message.clear()
    message.send_keys(HOSTILE)
    page.one(".play-form [type=submit]").click()
    page.until(lambda: page.text(".play-answer .pill") in {"Failed", "Complete"}, "an end")
    assert page.all("#view img, #view b[onclick], #drawer img") == []
    assert page.driver.execute_script("return window.hurt") is None
    page.driver.get("about:blank")
    page.errors()


def test_the_policy_is_in_force(page: Browser) -> None:
    refused = page.driver.execute_async_script(POLICY)
    thrown, broken, owned = refused
    assert thrown == [True, True]
    assert {"connect-src", "require-trusted-types-for", "style-src-attr"} <= set(broken)
    assert owned is None
    assert page.errors()
    page.forget()
