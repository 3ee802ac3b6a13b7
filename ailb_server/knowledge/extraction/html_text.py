"""HTML, by selectolax (the parser Lexbor): what a reader of the page sees, with its structure."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ailb_server.knowledge.extraction.extracted import Extracted, Heading, clean, one_line
from ailb_server.knowledge.extraction.markdown_text import first_title
from ailb_server.knowledge.extraction.plain_text import decode

_NOT_READ = frozenset(
    (
        *("script", "style", "noscript", "template", "svg", "math", "nav", "footer", "form"),
        *("button", "select", "textarea", "iframe", "object", "canvas", "audio", "video"),
        *("dialog", "head"),
    )
)
_NOT_SEEN = '[hidden], [aria-hidden="true"], [role="navigation"], [role="search"]'
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div"),
        *("dl", "dt", "fieldset", "figcaption", "figure", "header", "hr", "html", "main", "ol"),
        *("p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "ul"),
    )
)
_GAPS = ("", " ", "\n", "\n\n")
_WORD, _LINE, _PARAGRAPH = 1, 2, 3
_LINES = frozenset(("li", "tr", "br"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_CELLS = frozenset(("td", "th"))
# What is not walked into.
_WHOLE = _NOT_READ | _HEADINGS
_META = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.I)
_PROBE_BYTES = 4096
_WHITE = re.compile(r"\s+")


def extract_html(content: bytes, charset: str | None) -> Extracted:
    """The main part if the page names one, else all but navigation, forms and scripts.

    Headings are written as in Markdown, lists with `- `, a table's cells with ` | ` between them.
    Raises UnreadableError for what is no text.
    """
    declared = charset or _declared(content)
    tree = LexborHTMLParser(clean(decode(content, declared)))
    title = tree.css_first("head > title")
    writer = _Writer()
    root = _root(tree)
    if root is not None:
        for node in root.css(_NOT_SEEN):
            node.decompose()
        for node, entering in _walk(root):
            writer.see(node, entering=entering)
    told = one_line(title.text()) if title is not None else ""
    return Extracted(writer.text(), told or first_title(writer.headings), tuple(writer.headings))


def _declared(content: bytes) -> str | None:
    found = _META.search(content[:_PROBE_BYTES])
    return found[1].decode("ascii") if found else None


def _root(tree: LexborHTMLParser) -> LexborNode | None:
    mains = tree.css('main, [role="main"]')
    if len(mains) == 1 and mains[0].text().strip():
        return mains[0]
    return tree.body


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Every node twice, as it begins and as it ends; without recursion, for pages nest deeply."""
    node, entering = root, True
    while True:
        yield node, entering
        child = node.child if entering and node.tag not in _WHOLE else None
        if child is not None:
            node = child
            continue
        if entering:
            entering = False
            continue
        if node.mem_id == root.mem_id:
            return
        following = node.next
        if following is not None:
            node, entering = following, True
        else:
            parent = node.parent
            if parent is None:
                return
            node = parent


class _Writer:
    """Text with its white space as a browser shows it."""

    def __init__(self) -> None:
        self.headings: list[Heading] = []
        self._parts: list[str] = []
        self._length = 0
        self._gap = 0
        self._lead = ""
        self._verbatim = 0

    def text(self) -> str:
        """All that was seen."""
        return "".join(self._parts)

    def see(self, node: LexborNode, *, entering: bool) -> None:
        """Takes the beginning or the end of a node."""
        tag = node.tag or ""
        if tag in _BLOCKS:
            self._space(_PARAGRAPH)
            if tag == "pre":
                self._verbatim += 1 if entering else -1
        elif tag in _LINES:
            self._space(_LINE)
            self._lead = "- " if tag == "li" and entering else ""
        elif entering:
            self._small(node, tag)

    def _small(self, node: LexborNode, tag: str) -> None:
        if tag == "-text":
            self._write(node.text_content or "")
        elif tag in _HEADINGS:
            self._heading(int(tag[1]), one_line(node.text()))
        elif tag in _CELLS and self._parts and self._gap < _LINE:
            self._gap, self._lead = _WORD, "| "
        elif tag == "img":
            self._write(node.attributes.get("alt") or "")

    def _heading(self, level: int, title: str) -> None:
        if not title:
            return
        self._space(_PARAGRAPH)
        self._lead = ""
        start = self._length + (len(_GAPS[self._gap]) if self._parts else 0)
        self._put(f"{'#' * level} {title}")
        self.headings.append(Heading(start, self._length, level, title))
        self._space(_PARAGRAPH)

    def _space(self, gap: int) -> None:
        """White space that is due before what comes next."""
        self._gap = max(self._gap, gap)

    def _write(self, text: str) -> None:
        if self._verbatim:
            self._put(text)
            return
        words = _WHITE.sub(" ", text)
        if words.startswith(" "):
            self._space(_WORD)
        if words.strip():
            self._put(words.strip())
            self._gap = _WORD if words.endswith(" ") else 0

    def _put(self, text: str) -> None:
        if not text:
            return
        part = (_GAPS[self._gap] if self._parts else "") + self._lead + text
        self._parts.append(part)
        self._length += len(part)
        self._gap, self._lead = 0, ""
