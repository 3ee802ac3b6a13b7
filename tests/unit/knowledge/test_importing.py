"""What documents must be like to be taken in."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.imports import (
    Backlog,
    GivenDocument,
    ImportStatus,
    StoredDocument,
    sort_out,
)
from ailb_server.domain.knowledge import Collection
from ailb_server.domain.principal import ANYONE
from ailb_server.knowledge import importing
from ailb_server.knowledge.importing import DocumentInput, Importing, checked

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Imports:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: Sequence[GivenDocument] = ()

    async def accept(
        self, tenant_id: int, collection_id: int, documents: Sequence[GivenDocument], bound: Backlog
    ) -> ImportStatus:
        self.given = documents
        return await self.status(tenant_id, "x")

    async def status(self, tenant_id: int, import_id: str) -> ImportStatus:
        return ImportStatus(import_id, "docs", 0, 0, 0, 0, 0, NOW, NOW)


class Collections:
    async def collection(self, tenant_id: int, name: str) -> Collection:
        return Collection(1, 1, name, "", None, 1, 1000, 100, 1, 0, 0, NOW, NOW)

    async def create_collection(self, tenant_id: int, new: Any) -> Collection:
        raise AssertionError


async def given(document: DocumentInput) -> GivenDocument:
    imports = Imports()
    await Importing(Collections(), imports, lambda: None).start(ANYONE, "docs", [document])
    return imports.given[0]


@pytest.mark.parametrize(
    ("document", "param"),
    [
        (DocumentInput("", "x"), "id"),
        (DocumentInput("x" * 513, "x"), "id"),
        (DocumentInput("a\nb", "x"), "id"),
        (DocumentInput("a\0", "x"), "id"),
        (DocumentInput("a", None), "content"),
        (DocumentInput("a", ""), "text"),
        (DocumentInput("a.txt", b""), "content"),
        (DocumentInput("a.txt", b"x" * (32 * 1024 * 1024 + 1)), "content"),
        (DocumentInput("a", "x", title="x" * 1025), "title"),
        (DocumentInput("a", "x", source="x" * 4097), "source"),
        (DocumentInput("a", "x", metadata={"x": "y" * 16_384}), "metadata"),
        (DocumentInput("a", b"x"), "content_type"),
        (DocumentInput("a.py", b"x"), "content_type"),
        (DocumentInput("a.txt", b"x", content_type="image/png"), "content_type"),
        (DocumentInput("a", "x", content_type="application/pdf"), "text"),
    ],
)
def test_a_fault_names_its_field(document: DocumentInput, param: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        checked([DocumentInput("fine", "text"), document])
    assert raised.value.facts["param"] == f"documents[1].{param}"
    assert "xxxx" not in str(raised.value)


@pytest.mark.parametrize("count", [0, 1001])
def test_how_many_documents(count: int) -> None:
    with pytest.raises(InvalidRequestError, match="1 to 1,000"):
        checked([DocumentInput(str(n), "x") for n in range(count)])


def test_ids_differ() -> None:
    with pytest.raises(InvalidRequestError, match="another document"):
        checked([DocumentInput("a", "x"), DocumentInput("a", "y")])


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (DocumentInput("a.md", "x"), "text/plain; charset=utf-8"),
        (
            DocumentInput("a", "x", content_type="text/html; charset=big5"),
            "text/html; charset=utf-8",
        ),
        (DocumentInput("a.md", b"x"), "text/markdown"),
        (
            DocumentInput("a", b"x", content_type="text/HTML; charset=big5"),
            "text/html; charset=big5",
        ),
    ],
)
async def test_what_a_document_is(document: DocumentInput, content_type: str) -> None:
    assert (await given(document)).content_type == content_type


async def test_the_hash_is_of_the_bytes_as_they_were_sent() -> None:
    for body in (b"# x\r\n", b"y" * 500_000):
        found = await given(DocumentInput("a.md", body))
        assert found.sha256 == hashlib.sha256(body).hexdigest()


async def test_what_postgres_refuses_is_left_out() -> None:
    found = await given(
        DocumentInput("a", "x", "t\0", "s\0", {"k\0": ["v\0", {"n\0": 1}], "b": True})
    )
    assert (found.title, found.source) == ("t", "s")
    assert found.metadata == {"k": ["v", {"n": 1}], "b": True}


def test_documents_are_sorted_by_the_work_they_are() -> None:
    def document(id_: str, sha256: str = "1", title: str = "") -> GivenDocument:
        return GivenDocument(id_, b"", "text/plain", sha256, title)

    same, new, changed = document("same"), document("new"), document("changed", "2")
    renamed, busy = document("renamed", title="New"), document("busy")
    stored = {
        id_: StoredDocument("1", "Old", "", {}) for id_ in ("same", "changed", "renamed", "busy")
    }
    found = sort_out([same, new, changed, renamed, busy], stored, {"busy"})
    assert (found.work, found.amended, found.unchanged) == ([new, changed, busy], [renamed], 2)


def test_bounds_are_those_of_the_proto() -> None:
    assert importing.MAX_DOCUMENTS == 1000
    assert importing.MAX_CONTENT_BYTES == 32 * 1024 * 1024
