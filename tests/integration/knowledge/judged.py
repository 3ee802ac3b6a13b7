"""Corpora whose questions have been judged: which documents answer each."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ailb_server.knowledge.extraction.chunking import Piece
from ailb_server.knowledge.extraction.content_types import ContentType, Format
from ailb_server.knowledge.extraction.cutting import CutRules, cut_up

HERE = Path(__file__).parent / "evaluation"
DEPTH = 10
# Those of a collection for which nothing else is said.
_RULES = CutRules(1000, 100)
_HEADING = re.compile(r"^##? (.+)$")

Judged: TypeAlias = Sequence[tuple[str, frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents by id, in pieces as an import makes them, and questions with what answers them."""

    documents: Mapping[str, Sequence[Piece]]
    questions: Judged


def corpora() -> Mapping[str, Corpus]:
    """By name. `tuned` is the one that the way of searching was chosen on; the others were judged
    afterwards, before any result of theirs was seen."""
    passages = {id_: [Piece(text, 0)] for id_, text in _pairs("passages.txt", ": ")}
    files = sorted((HERE / "docs").iterdir())
    sections = {id_: _cut(text) for file in files for id_, text in _sections(file)}
    return {
        "tuned": Corpus(passages, _judged("queries.txt")),
        "held out": Corpus(passages, _judged("held_out.txt")),
        "docs": Corpus(sections, _judged("docs_queries.txt")),
    }


def ndcg(found: Sequence[str], wanted: frozenset[str]) -> float:
    """Normalised discounted cumulated gain of the first ten (Järvelin, Kekäläinen 2002).

    What is found twice, in two of its passages, counts where it was found first.
    """
    best = list(dict.fromkeys(found))[:DEPTH]
    gains = [1 / math.log2(place + 2) for place, id_ in enumerate(best) if id_ in wanted]
    ideal = [1 / math.log2(place + 2) for place in range(min(len(wanted), DEPTH))]
    return sum(gains) / sum(ideal)


def _pairs(name: str, separator: str) -> Iterator[tuple[str, str]]:
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(separator)
        yield left.strip(), right.strip()


def _judged(name: str) -> Judged:
    return [(query, frozenset(wanted.split())) for query, wanted in _pairs(name, "=>")]


def _sections(file: Path) -> Iterator[tuple[str, str]]:
    """A document's sections, by its name and the words of their headings."""
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in file.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            words = re.findall(r"[a-z]+", heading[1].lower())
            found.append((f"{file.stem}/{'-'.join(words)}", []))
        found[-1][1].append(line)
    for id_, lines in found:
        yield id_, "\n".join(lines)


def _cut(text: str) -> Sequence[Piece]:
    return cut_up(text.encode(), ContentType(Format.MARKDOWN), _RULES).pieces
