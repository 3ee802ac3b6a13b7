"""Who gets in, and where the key is kept."""

from tests.e2e.dashboard.conftest import ADMIN, ask, enter
from tests.support.browser import Browser
from tests.support.stack import Stack


def kept(browser: Browser) -> str:
    """Everything that this browser would still know."""
    script = "return JSON.stringify([{...localStorage}, document.cookie, location.href])"
    told: str = browser.driver.execute_script(script)
    return told


def refused(browser: Browser, status: int) -> bool:
    """Whether the console tells of one refusal of that status, and of nothing else."""
    (error,) = browser.errors()
    return f"status of {status}" in error


def test_a_wrong_key_is_told_and_a_right_one_opens(browser: Browser, locked: Stack) -> None:
    browser.open(locked.rest)
    browser.until(lambda: browser.focus() == "gate-key", "the focus in the gate")
    enter(browser, "ailb_wrong")
    browser.sees("#gate-error", "This key is not accepted.")
    assert refused(browser, 401)
    assert browser.focus() == "gate-key"
    assert not browser.one("#shell").is_displayed()
    assert browser.driver.execute_script("return sessionStorage.length") == 0
    enter(browser, ADMIN)
    browser.sees("#about", "ailb-test")
    assert browser.one("#shell").is_displayed()
    assert browser.text("#gate-error") == ""
    assert ADMIN not in kept(browser)
    assert browser.driver.execute_script("return Object.values(sessionStorage)") == [ADMIN]


def test_a_key_without_the_role_is_told_why(browser: Browser, locked: Stack) -> None:
    user = ask(locked, "/admin/v1/keys", name="a user's")["secret"]
    browser.open(locked.rest)
    enter(browser, user)
    browser.sees("#gate-error", "it takes the role admin")
    assert refused(browser, 403)


def test_what_is_no_key_is_not_sent(browser: Browser, locked: Stack) -> None:
    browser.open(locked.rest)
    browser.one("#gate-key")
    browser.asked()
    enter(browser, "no key, ümlauts")
    browser.sees("#gate-error", "characters that no key has")
    assert [url for url in browser.asked() if "/api/" in url] == []


def test_a_key_outlasts_a_reload_and_is_forgotten_on_request(page: Browser) -> None:
    page.driver.refresh()
    page.sees("#about", "Instance")
    page.one("#sign-out").click()
    page.until(page.one("#gate").is_displayed, "the gate")
    assert page.driver.execute_script("return sessionStorage.length") == 0
    assert "ailb-test" not in page.text("#view")
    page.driver.refresh()
    page.until(page.one("#gate").is_displayed, "the gate")


def test_a_key_that_is_taken_back_closes_the_page(browser: Browser, locked: Stack) -> None:
    made = ask(locked, "/admin/v1/keys", name="short-lived", role="KEY_ROLE_ADMIN")
    browser.open(locked.rest)
    enter(browser, made["secret"])
    browser.sees("#about", "Instance")
    ask(locked, f"/admin/v1/keys/{made['api_key']['id']}:revoke")
    browser.sees("#gate-error", "This key is not accepted.")
    assert all("status of 401" in error for error in browser.errors())


def test_an_open_gateway_asks_for_no_key(browser: Browser, stack: Stack) -> None:
    browser.open(stack.rest)
    browser.sees("#about", "Instance")
    assert not browser.one("#gate").is_displayed()
    assert not browser.one("#sign-out").is_displayed()
