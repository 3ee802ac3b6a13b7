"""The page's files: whole, small, and with nothing from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typing_extensions import override

from ailb_server.dashboard.bundle import PAGE, Bundle
from tests.shape.test_sizes import MAX_FILE_LINES

BUNDLE = Bundle.load()
MAX_BYTES = 160_000


class Tags(HTMLParser):
    """What a page's tags say."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.script = ""
        self._in_script = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._in_script = tag == "script"

    @override
    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    @override
    def handle_data(self, data: str) -> None:
        self.script += data.strip() if self._in_script else ""


def page() -> Tags:
    tags = Tags()
    tags.feed(text(PAGE))
    return tags


def text(name: str) -> str:
    return BUNDLE.files[name].data.decode()


def test_nothing_asked_for_is_the_page() -> None:
    assert BUNDLE.find("") is BUNDLE.files[PAGE]
    assert BUNDLE.find("main.js") is BUNDLE.files["main.js"]


@pytest.mark.parametrize(
    "name", ["../bundle.py", "..", ".", "/etc/passwd", "static/main.js", "%2e"]
)
def test_nothing_beside_it_is_found(name: str) -> None:
    assert BUNDLE.find(name) is None


def test_a_tag_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    first = Bundle.load(tmp_path).files["a.css"]
    assert (first.content_type, Bundle.load(tmp_path).files["a.css"]) == (
        "text/css; charset=utf-8",
        first,
    )
    (tmp_path / "a.css").write_text("b {}")
    assert Bundle.load(tmp_path).files["a.css"].etag != first.etag


def test_the_page_learns_whether_keys_are_asked_for() -> None:
    asked = page().tags[0][1]
    assert asked["data-key"] == "asked"
    keyless = Bundle.load(keyless=True).files[PAGE]
    assert b'data-key="none"' in keyless.data
    assert keyless.etag != BUNDLE.files[PAGE].etag


def test_the_page_has_no_script_or_style_within() -> None:
    tags = page()
    assert tags.script == ""
    assert [tag for tag, _ in tags.tags if tag == "style"] == []
    names = {name for _, attributes in tags.tags for name in attributes}
    assert [name for name in names if name == "style" or name.startswith("on")] == []


def test_what_the_page_and_its_modules_name_is_there() -> None:
    named = {
        (attributes.get("src") or attributes.get("href", "")).removeprefix("dashboard/")
        for tag, attributes in page().tags
        if tag in {"script", "link"}
    }
    for name in BUNDLE.files:
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([^"]+)"', text(name)))
    assert named == BUNDLE.files.keys() - {PAGE}


@pytest.mark.parametrize("name", sorted(BUNDLE.files))
def test_nothing_is_from_elsewhere(name: str) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", text(name)))
    # A namespace, and a comment's reference; neither is ever asked for.
    known = ("http://www.w3.org/2000/svg", "https://html.spec.whatwg.org/")
    assert [address for address in addresses if not address.startswith(known)] == []
    assert not re.search(r"@import|\burl\((?!#)|\bimport\(|src:", text(name))


@pytest.mark.parametrize("name", [name for name in sorted(BUNDLE.files) if name.endswith(".js")])
def test_no_text_becomes_markup_or_code(name: str) -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert re.findall(sinks, text(name)) == []


def test_the_files_are_small() -> None:
    lines = {name: len(text(name).splitlines()) for name in BUNDLE.files}
    assert {name: n for name, n in lines.items() if n > MAX_FILE_LINES} == {}
    assert sum(len(file.data) for file in BUNDLE.files.values()) < MAX_BYTES


def test_every_symbol_that_is_used_is_drawn() -> None:
    drawn = {a["id"] for tag, a in page().tags if tag == "symbol"}
    used = {a["href"].lstrip("#") for tag, a in page().tags if tag == "use"}
    for name in BUNDLE.files:
        if name.endswith(".js"):
            used |= set(re.findall(r'"([is]-[a-z]+)"', text(name)))
    assert used <= drawn
