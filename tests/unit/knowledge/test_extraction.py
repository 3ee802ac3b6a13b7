"""What is read of each format, and how what cannot be read is told."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from ailb_server.knowledge.extraction.content_types import (
    ContentType,
    Format,
    content_type,
    format_of_name,
)
from ailb_server.knowledge.extraction.cutting import CutRules, cut_up
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.extraction.html_text import extract_html
from ailb_server.knowledge.extraction.markdown_text import extract_markdown, headings_of
from ailb_server.knowledge.extraction.pdf_text import extract_pdf
from ailb_server.knowledge.extraction.plain_text import decode, extract_plain
from tests.support.pdf import pdf

PAGE = """<!doctype html><html><head><title> The
 page </title><style>p { color: red }</style></head><body>
<nav>Menu</nav><header><h1>Head</h1></header>
<p>Hello <b>wor</b>ld,<br>second&nbsp;line &amp; more.</p>tail
<ul><li>one<li><p>two</p></ul>
<table><tr><th>A<th>B<tr><td>1<td>2</table>
<pre>  code
    more</pre>
<h2>Sub <i>x</i>y</h2><p hidden>secret</p><script>alert(1)</script>
<img alt="A picture"><footer>Imprint</footer></body></html>"""


def test_html_is_what_a_reader_sees() -> None:
    page = extract_html(PAGE.encode(), None)
    assert page.title == "The page"
    assert page.text == (
        "# Head\n\nHello world,\nsecond line & more.\n\ntail\n\n- one\n\n- two\n\n"
        "A | B\n1 | 2\n\n  code\n    more\n\n## Sub xy\n\nA picture"
    )
    assert [(h.level, page.text[h.start : h.end]) for h in page.headings] == [
        (1, "# Head"),
        (2, "## Sub xy"),
    ]


def test_the_main_part_is_all_if_the_page_names_one() -> None:
    page = extract_html(b"<h1>Site</h1><main><h1>Story</h1><p>Text</main><p>Advert", None)
    assert (page.title, page.text) == ("Story", "# Story\n\nText")


@pytest.mark.parametrize(
    "content",
    [b"<p>a<div><b>b</p></i></table>c", b"<", b"a<!--", b"<p a='", b"<![CDATA[", b"\xff\xfe<\x00"],
)
def test_broken_html_is_read_as_far_as_it_goes(content: bytes) -> None:
    extract_html(content, None)


@given(st.text("<>/abdivph1 \n=\"'&;!-", max_size=300))
def test_no_html_is_an_error(page: str) -> None:
    text = extract_html(page.encode(), None)
    assert all(text.text[h.start : h.end].startswith("#") for h in text.headings)


def test_html_declares_its_encoding() -> None:
    page = '<meta http-equiv=content-type content="text/html; charset=windows-1251"><p>Привет'
    assert extract_html(page.encode("cp1251"), None).text == "Привет"


def test_markdown_tells_headings_and_title() -> None:
    text = b"Intro\n\nUnder\n===\n\n```\n# no\n```\n## Two ##\n   ### Three\n#no\n- x\n---\n"
    found = extract_markdown(text, None)
    assert found.text == text.decode()
    assert [(h.level, h.title) for h in found.headings] == [(1, "Under"), (2, "Two"), (3, "Three")]
    assert found.title == "Under"


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("title: A title", "A title"),
        ('title: "Quoted: yes"\ntags: [a]', "Quoted: yes"),
        ("title: 2024", "2024"),
        ("other: x", "Heading"),
        ("title: [broken", "Heading"),
        ("- a list", "Heading"),
    ],
)
def test_front_matter_tells_the_title_and_is_no_text(front: str, title: str) -> None:
    found = extract_markdown(f"---\n{front}\n---\n# Heading\n\nText".encode(), None)
    assert (found.title, found.text) == (title, "# Heading\n\nText")


@given(st.text("#=-`~ \n\tab>1.*", max_size=300))
def test_headings_are_where_they_say(text: str) -> None:
    for heading in headings_of(text):
        assert heading.title in " ".join(text[heading.start : heading.end].split())


def test_pdf_is_its_pages_text_and_title() -> None:
    found = extract_pdf(pdf(["Page one (1)", "", "Page three"], "A title"))
    assert (found.text, found.title) == ("Page one (1)\n\nPage three", "A title")


def encrypted(password: str) -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(pdf(["Secret"]))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def test_a_pdf_that_only_forbids_printing_is_read() -> None:
    assert extract_pdf(encrypted("")).text == "Secret"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no PDF that can be read: it is broken"),
        (b"%PDF-1.4 and no more", "is no PDF that can be read: it is broken"),
        (b"GIF89a", "is no PDF that can be read: it is broken"),
        (pdf(["text"])[:200], "is no PDF that can be read: it is broken"),
        (pdf([""]), "is a PDF without text: perhaps a scan"),
        (encrypted("password"), "is an encrypted PDF"),
    ],
)
def test_a_pdf_that_cannot_be_read_tells_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=f"^{reason}$"):
        extract_pdf(content)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_encodings_are_told_apart(encoding: str) -> None:
    text = "Grüße, the quick “fox”\n"
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("charset", ["koi8-r", "no such", "hex", "utf-8"])
def test_what_is_declared_is_tried_first(charset: str) -> None:
    text = "Привет" if charset != "utf-8" else "Grüße"
    encoding = charset if charset in {"koi8-r"} else "utf-8"
    assert decode(text.encode(encoding), charset) == text


def test_text_is_stored_without_what_postgres_refuses() -> None:
    assert extract_plain(b"a\0b\r\nc\rd", "utf-8").text == "ab\nc\nd"


@pytest.mark.parametrize("content", [b"\0\1\2\3" * 9, bytes(range(256)), b"\x7fELF\2\1\1\0\0\0"])
def test_bytes_that_are_no_text(content: bytes) -> None:
    with pytest.raises(UnreadableError, match="is no text"):
        decode(content)


@given(st.binary(max_size=400), st.sampled_from(Format))
def test_whatever_the_bytes_there_is_a_document_or_a_reason(content: bytes, kind: Format) -> None:
    try:
        document = cut_up(content, ContentType(kind), CutRules(100, 10))
    except UnreadableError as error:
        assert str(error)
    else:
        "".join(piece.text for piece in document.pieces).encode()
        assert document.pieces


def test_too_many_pieces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ailb_server.knowledge.extraction.cutting.MAX_PIECES", 3)
    with pytest.raises(UnreadableError, match="more than 3 passages"):
        cut_up(b"word " * 200, ContentType(Format.PLAIN), CutRules(100, 0))


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ("text/plain", ContentType(Format.PLAIN)),
        ("Text/HTML; charset=ISO-8859-1", ContentType(Format.HTML, "ISO-8859-1")),
        ('text/markdown; x=y; charset="utf-8"', ContentType(Format.MARKDOWN, "utf-8")),
        ("application/pdf", ContentType(Format.PDF)),
        ("image/png", None),
        ("", None),
    ],
)
def test_content_types(declared: str, found: ContentType | None) -> None:
    assert content_type(declared) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/b.MD", Format.MARKDOWN),
        ("a.md/b", None),
        ("x.tar.html", Format.HTML),
        ("README", None),
        (".pdf", Format.PDF),
        ("a.py", None),
    ],
)
def test_endings(name: str, found: Format | None) -> None:
    assert format_of_name(name) is found
