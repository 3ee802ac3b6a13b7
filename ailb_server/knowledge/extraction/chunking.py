"""Texts in pieces: at headings, paragraphs, sentences, lines or words, in this order of liking.

Own code, because the package semantic-text-splitter 0.33 took 58 s for a word of 3 MB, made pieces
of headings alone, and repeats only whole sentences.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from ailb_server.knowledge.extraction.extracted import Extracted, Heading

_PARAGRAPH = re.compile(r"\n[ \t]*+\n\s*+")
_SENTENCE = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\]]*+\s++"
    r"|[\u3002\uff01\uff1f\uff61]++[\u300d\u300f\uff09]*+\s*+"
)
_LINE = re.compile(r"\n")
_INK = re.compile(r"\S")
# Scripts that write without spaces: kana, ideographs, Thai, Lao, Burmese, Khmer.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\uff00-\uff65\U00020000-\U0003ffff]"
)
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")
_LONGEST_CLUSTER = 16
# How full a piece must be at least to end at a heading, and at the lesser breaks.
_AT_HEADING, _AT_BREAK = 0.25, 0.4
# How much of a piece the headings above it may take.
_CONTEXT_SHARE = 5
_UNDER = " > "


@dataclass(frozen=True, slots=True)
class Piece:
    """`text` begins with `overlap` characters that do not continue the piece before: the headings
    that it stands under, and what repeats that piece's end. Without them, pieces one after the
    other are the document, but for white space between pieces."""

    text: str
    overlap: int


def pieces(document: Extracted, size: int, overlap: int) -> Iterator[Piece]:
    """Pieces of at most `size` characters (at least 100); each repeats at most `overlap` of them
    (at most half of `size`) of the one before.

    The same document gives the same pieces. Takes time linear in the document's length.
    """
    text, breaks = document.text, _Breaks(document, size, overlap)
    start = reached = breaks.ink(0)
    while start < breaks.length:
        context = breaks.context(start)
        end = breaks.end(start, reached, len(context))
        if start < reached:
            lead = context + text[start:reached]
            yield Piece(lead + text[reached:end], len(lead))
        else:
            lead = context.rstrip()
            yield Piece(context + text[start:end], len(lead))
        start, reached = breaks.resume(start, end)


class _Breaks:
    """Where a text may be cut. A place is the number of characters before it."""

    def __init__(self, document: Extracted, size: int, overlap: int) -> None:
        self._text = text = document.text
        self._size, self._overlap = size, overlap
        self.length = len(text.rstrip())
        headings = document.headings
        self._titles = [heading.title for heading in headings]
        self._starts = [self.ink(heading.start) for heading in headings]
        self._above = list(_parents(headings))
        # A heading stays with what it heads.
        under = {self.ink(heading.end) for heading in headings}
        self._paragraphs = self._ends(_PARAGRAPH, under)
        self._sentences = self._ends(_SENTENCE, under)
        self._lines = self._ends(_LINE, under)

    def ink(self, place: int) -> int:
        """The first place from here on with something to read; the text's length if none."""
        found = _INK.search(self._text, place)
        return found.start() if found else len(self._text)

    def context(self, place: int) -> str:
        """The headings that the text from `place` on stands under, and an empty line; the nearest
        ones if not all fit."""
        last = bisect_left(self._starts, place)
        index = self._above[last] if self._begins_section(place) else last - 1
        room = self._size // _CONTEXT_SHARE - 2
        path = ""
        while index >= 0:
            title = self._titles[index]
            longer = title + _UNDER + path if path else title
            if len(longer) > room:
                break
            path, index = longer, self._above[index]
        return path + "\n\n" if path else ""

    def end(self, start: int, reached: int, taken: int) -> int:
        """Where the piece from `start` ends, with something new in it beyond `reached`; `taken`
        of its size is not available."""
        room = self._size - taken
        limit = start + room
        if limit >= self.length:
            return self.length
        least = self.ink(reached) + 1
        for places, share in (
            (self._starts, _AT_HEADING),
            (self._paragraphs, _AT_BREAK),
            (self._sentences, _AT_BREAK),
            (self._lines, _AT_BREAK),
        ):
            found = _last(places, limit)
            if found >= max(least, start + int(share * room)):
                return self._trimmed(found)
        return self._trimmed(self._last_word(least, limit))

    def resume(self, start: int, end: int) -> tuple[int, int]:
        """Where the piece after that from `start` to `end` starts, and where its news begin."""
        fresh = self.ink(end)
        low = max(end - self._overlap, start + (end - start) // 2 + 1)
        if low >= end or fresh >= self.length or self._begins_section(fresh):
            return fresh, fresh
        again = self._again(low, end)
        # White space has no end of its own: a gap may be larger than a piece.
        return (again, end) if again < end and fresh - again <= self._size // 2 else (fresh, fresh)

    def _begins_section(self, place: int) -> bool:
        found = bisect_left(self._starts, place)
        return found < len(self._starts) and self._starts[found] == place

    def _ends(self, pattern: re.Pattern[str], without: Container[int]) -> list[int]:
        found = (match.end() for match in pattern.finditer(self._text))
        return [place for place in found if place not in without]

    def _trimmed(self, end: int) -> int:
        while self._text[end - 1].isspace():
            end -= 1
        return end

    def _last_word(self, least: int, limit: int) -> int:
        """The last place in between that parts no word; the last at all if a word takes it all."""
        for place in range(limit, least - 1, -1):
            if self._between_words(place):
                return place
        place = limit
        while place > max(least, limit - _LONGEST_CLUSTER) and self._within_cluster(place):
            place -= 1
        return place

    def _again(self, low: int, end: int) -> int:
        """From where what ends at `end` is repeated: a sentence, a word, or within a word that
        was cut; `end` if there is no such place."""
        found = bisect_left(self._sentences, low)
        if found < len(self._sentences) and self._sentences[found] < end:
            return self._sentences[found]
        for place in range(low, end):
            if self._between_words(place) and not self._text[place].isspace():
                return place
        if self._between_words(end):
            return end
        while low < end and self._within_cluster(low):
            low += 1
        return low

    def _between_words(self, place: int) -> bool:
        before, after = self._text[place - 1], self._text[place]
        if before.isspace() or after.isspace():
            return True
        spaceless = _SPACELESS.match(before) or _SPACELESS.match(after)
        return bool(spaceless) and not self._within_cluster(place)

    def _within_cluster(self, place: int) -> bool:
        before, after = self._text[place - 1], self._text[place]
        joined = before in _JOINERS or after in _JOINERS
        return joined or unicodedata.category(after) in {"Mn", "Mc", "Me"}


def _parents(headings: Sequence[Heading]) -> Iterator[int]:
    """For each heading the index of the one that it stands under; -1 if none."""
    path: list[int] = []
    for index, heading in enumerate(headings):
        while path and headings[path[-1]].level >= heading.level:
            path.pop()
        yield path[-1] if path else -1
        path.append(index)


def _last(places: Sequence[int], limit: int) -> int:
    found = bisect_right(places, limit)
    return places[found - 1] if found else -1
