"""The playground: streams, stops, tells what it took, and tells errors in place."""

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from ailb_server.demo.received import Outcome
from tests.support.browser import Browser
from tests.support.stack import Stack

STATE = ".play-answer .card-head"
TEXT = ".play-text[data-part=text]"


def send(page: Browser, model: str, text: str = "hello") -> None:
    page.go("playground")
    page.until(lambda: len(page.all("#play-model option")) > 1, "models")
    Select(page.one("#play-model")).select_by_value(model)
    message = page.one("#play-user")
    message.clear()
    message.send_keys(text, Keys.CONTROL + Keys.ENTER)


def fact(page: Browser, name: str) -> str:
    script = (
        "return [...document.querySelectorAll('.play-facts div')]"
        ".find(e => e.firstChild.textContent === arguments[0]).lastChild.textContent"
    )
    told: str = page.driver.execute_script(script, name)
    return told


def test_an_answer_is_told_with_what_it_took(page: Browser, locked: Stack) -> None:
    page.go("playground")
    page.one("#play-system").send_keys("You are terse.")
    page.one("#play-temperature").send_keys("0.5")
    page.one("#play-session").send_keys("play-1")
    send(page, "demo")
    page.sees(STATE, "Complete")
    assert page.text(TEXT).startswith('[demo] You said: "hello"')
    sent = locked.upstream.last_fields()
    assert (sent["temperature"], sent["stream"]) == (0.5, True)
    assert sent["messages"][0]["content"] == "You are terse."
    assert fact(page, "First token").endswith("s")
    assert int(fact(page, "Tokens in")) > 0
    assert int(fact(page, "Tokens out")) > 0
    page.until(lambda: fact(page, "Cost").startswith("$0.0"), "the cost")
    assert "x-ailb-provider" in page.text(".play-headers")
    assert "openai" in page.text(".play-headers")
    page.sees("#announcer", "complete")


def test_it_streams_and_stops(page: Browser, locked: Stack) -> None:
    send(page, "demo-slow", "one two three four five six seven eight nine ten")
    page.sees(STATE, "Waiting")
    page.sees(TEXT, "[demo]")
    page.sees(STATE, "Streaming")
    assert page.one(".play-output").get_attribute("aria-busy") == "true"
    assert "Stop" in page.focus()
    page.press(Keys.ESCAPE)
    page.sees(STATE, "Stopped by you")
    assert locked.outcome(locked.upstream.last()) is Outcome.ABORTED
    assert page.one(".play-output").get_attribute("aria-busy") == "false"
    page.until(lambda: fact(page, "Tokens out").startswith("≈"), "the ledger's estimate")


def test_an_error_is_told_in_place(page: Browser) -> None:
    send(page, "demo-error")
    page.sees(".play-answer [role=alert]", "HTTP 50")
    page.sees(STATE, "Failed")
    assert "request " in page.text(".play-answer [role=alert]")
    assert all("Failed to load resource" in error for error in page.errors())
    send(page, "demo")
    page.sees(STATE, "Complete")
    assert page.text(".play-answer [role=alert]") == ""


def test_leaving_the_view_ends_the_stream(page: Browser, locked: Stack) -> None:
    send(page, "demo-slow", "one two three four five six seven eight nine ten")
    page.sees(TEXT, "[demo]")
    page.go("overview")
    assert locked.outcome(locked.upstream.last()) is Outcome.ABORTED
