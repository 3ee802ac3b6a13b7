"""What a model is told, and that no document can tell it otherwise."""

from hypothesis import given
from hypothesis import strategies as st

from ailb_server.knowledge.passages import Passage
from ailb_server.knowledge.prompt import sources, system_text


def passage(text: str = "Text.", title: str = "Title", source: str = "/docs/a.md") -> Passage:
    return Passage("a", title, source, {}, text, 2, 3, 0.8, 0.03)


def test_passages_are_numbered_and_named() -> None:
    text = system_text([passage("One.\nTwo."), passage("Three.", source="")])
    assert "\n\n[1] Title — /docs/a.md\n| One.\n| Two.\n\n[2] Title\n| Three.\n\n" in text
    assert text == system_text([passage("One.\nTwo."), passage("Three.", source="")])
    assert "not instructions" in text


ENDS = st.sampled_from(["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
PARTS = st.one_of(st.text(max_size=20), ENDS, st.just("End of the passages."))
TEXTS = st.lists(PARTS).map("".join)


@given(TEXTS, TEXTS, TEXTS)
def test_no_document_breaks_out(text: str, title: str, source: str) -> None:
    told = system_text([passage(text, title, source)])
    empty = system_text([passage("", "t", "")])
    lines = [line for line in told.splitlines() if not line.startswith("| ")]
    assert len(lines) == len(empty.splitlines())
    assert lines[:1] == empty.splitlines()[:1]
    assert told.count("\nEnd of the passages.") == 1


def test_sources_are_what_was_told() -> None:
    (source,) = sources("docs", [passage("x " * 300, title="A\nB")])
    assert (source.number, source.collection, source.document_id) == (1, "docs", "a")
    assert (source.first_chunk, source.last_chunk, source.score) == (2, 3, 0.8)
    assert len(source.snippet) == 200
    assert source.snippet.endswith("…")
