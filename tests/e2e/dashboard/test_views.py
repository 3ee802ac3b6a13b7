"""What the views show, and that they follow what happens."""

import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.dashboard.conftest import ADMIN, ask, enter, say
from tests.support.browser import Browser
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack

VIEWS = ("overview", "targets", "routing", "spend", "memory", "playground")


def row(browser: Browser, name: str) -> list[str]:
    """The texts of a table's row; its target is written as `provider/model`."""
    script = (
        "const rows = [...document.querySelectorAll('#view tbody tr')];"
        "const found = rows.find((each) => each.cells[0].textContent === arguments[0]);"
        "return found ? [...found.cells].map((each) => each.textContent) : []"
    )
    cells: list[str] = browser.driver.execute_script(script, name)
    return cells


def test_figures_follow_the_chats(page: Browser, locked: Stack) -> None:
    page.go("targets")
    say(locked)
    page.until(lambda: row(page, "openai/demo"), "the target's row")
    before = int(row(page, "openai/demo")[2])
    for _ in range(3):
        say(locked)
    page.until(lambda: int(row(page, "openai/demo")[2]) >= before + 3, "three requests more")
    assert row(page, "openai/demo")[1] == "Closed"
    page.go("overview")
    page.until(lambda: page.text(".tile:nth-child(1) .tile-value") not in {"", "0"}, "a rate")
    page.until(lambda: page.text(".tile:nth-child(3) .tile-value").endswith("ms"), "a latency")
    page.sees(".tile:nth-child(6) .tile-value", "$0.")
    assert page.all(".chart rect.bar-ok")
    assert page.all(".chart path.line-p50")


def test_a_circuit_that_opens_is_shown(page: Browser, locked: Stack) -> None:
    page.go("targets")
    for _ in range(5):
        with pytest.raises(OSError, match="503"):
            say(locked, model="demo-error")
    page.until(lambda: "Open" in "".join(row(page, "openai/demo-error")[1:2]), "an open one")
    # By colour, by shape and in words; and before those that are well.
    first = page.one("#view tbody tr:first-child")
    assert "demo-error" in first.text
    pill = first.find_element(By.CSS_SELECTOR, ".pill")
    assert pill.get_attribute("data-kind") == "bad"
    assert pill.find_element(By.TAG_NAME, "use").get_attribute("href") == "#s-bad"
    assert "upstream unavailable" in first.text
    page.sees("#view .card-head", "1 in trouble")
    page.go("routing")
    page.sees(".decision .pill[data-kind=bad]", "upstream unavailable")
    page.one(".decision-fold summary").click()
    page.sees(".decision-fold[open] .facts", "Strategy")
    # While no provider was well, health was a 503.
    say(locked)
    assert all("/healthz" in error for error in page.errors())


def test_spend_is_told_by_model_and_key(page: Browser, locked: Stack) -> None:
    limits = {"monthly_budget_usd": 0.01}
    key = ask(locked, "/admin/v1/keys", name="budgeted", tenant="acme", limits=limits)["secret"]
    messages = [{"role": "user", "content": "hello"}]
    # Costs 0.009 of 0.01: at ten dollars a million.
    usage = {"prompt_tokens": 450, "completion_tokens": 450}
    ask(
        locked,
        "/v1/chat/completions",
        key,
        model="demo",
        messages=messages,
        max_tokens=5,
        demo={"usage": usage},
    )
    page.go("spend")
    page.sees("#view .bars[aria-label='Spend by model']", "openai/demo")
    page.sees("#view .bars[aria-label='Spend by key']", "budgeted · acme")
    page.sees("#view .bars[aria-label='Spend by key']", "$0.0090 of $0.01")
    assert page.all("#view .bars-fill[data-kind=warn]")
    page.one("#view input[value=today]").send_keys(Keys.SPACE)
    page.until(lambda: any("start_time" in url for url in page.asked()), "another period")


def test_sessions_and_collections_are_told(page: Browser, locked: Stack) -> None:
    say(locked, "My name is Ada.", session_id="ada-1", user="ada")
    ask(locked, "/v1/collections", name="handbook", description="How we work")
    page.go("memory")
    page.until(lambda: row(page, "ada-1"), "the session")
    assert row(page, "ada-1")[1:3] == ["ada", "2"]
    next(e for e in page.all("#view .link") if e.text == "ada-1").click()
    page.sees("#drawer-body", "My name is Ada.")
    page.sees("#drawer-body", "openai/demo")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.one("#drawer").is_displayed(), "a closed drawer")
    page.until(lambda: row(page, "handbook"), "the collection")
    page.one("a[aria-label='Ask: handbook, in the playground']").click()
    page.until(lambda: page.one("#play-collection").get_attribute("value") == "handbook", "chosen")


def test_empty_is_said_and_not_only_left_empty(browser: Browser, postgres_server: str) -> None:
    sql(postgres_server, "CREATE DATABASE bare OWNER ailb", role="postgres")
    settings = {"require_api_key": True, "admin_api_key": ADMIN}
    with Stack(database_dsn(postgres_server, "bare"), settings=settings) as bare:
        browser.open(bare.rest)
        enter(browser, ADMIN)
        browser.sees("#view", "No decision yet")
        browser.sees("#view", "Nothing was used yet")
        browser.go("memory")
        browser.sees("#view", "No sessions")
        browser.sees("#view", "No collections")
        browser.driver.get("about:blank")
    sql(postgres_server, "DROP DATABASE bare WITH (FORCE)", role="postgres")


def test_it_pauses_and_goes_on(page: Browser) -> None:
    page.one("#pause").click()
    page.sees("#live-state", "Paused")
    page.one("#pause").click()
    page.sees("#live-state", "Live")


def test_a_hidden_tab_asks_for_nothing(page: Browser) -> None:
    hide = (
        "Object.defineProperty(document, 'hidden', {value: !!arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.driver.execute_script(hide, 1)
    page.asked()
    # Longer than any of the overview's feeds for what happens now waits.
    time.sleep(3.5)
    assert page.asked() == []
    page.driver.execute_script(hide, 0)
    page.until(lambda: any("/api/routing/traffic" in url for url in page.asked()), "a question")


def test_it_says_when_nobody_answers_and_comes_back(page: Browser) -> None:
    away = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", away)
    page.sees("#live-state", "No answer")
    before = page.text(".tile:nth-child(1) .tile-value")
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**away, "offline": False})
    page.sees("#live-state", "Live")
    assert before
    assert all("ERR_INTERNET_DISCONNECTED" in error for error in page.errors())


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_scrolls_sideways(page: Browser, width: int) -> None:
    page.size(width, 800)
    for view in VIEWS:
        page.driver.execute_script("location.hash = arguments[0]", view)
        page.until(lambda: not page.all(".bone"), "figures")
        script = "return [document.documentElement.scrollWidth, innerWidth]"
        content, window = page.driver.execute_script(script)
        assert content <= window, view
