"""Imports from their start to what is found in the store."""

import asyncio
import random
from uuid import uuid4

import pytest

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import NotFoundError, OverloadedError
from ailb_server.domain.imports import Claim
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.knowledge.importing import IntakeRules
from ailb_server.storage.pool import Store
from tests.support.importing import FakeEmbedder, Instance, quick, text, until
from tests.support.postgres import sql

BROKEN_PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog"


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
async def instance(store: Store, embedder: FakeEmbedder) -> Instance:
    made = Instance(store, embedder)
    await made.collection()
    return made


async def passages(store: Store, document: str) -> list[str]:
    query = (
        "SELECT k.text FROM chunks k JOIN documents d ON d.id = k.document_id"
        " WHERE d.external_id = $1 ORDER BY k.ordinal"
    )
    async with store.connection() as connection:
        return [row["text"] for row in await connection.fetch(query, document)]


async def document(store: Store, id_: str) -> dict[str, object]:
    query = "SELECT title, source, metadata::text, sha256 FROM documents WHERE external_id = $1"
    async with store.connection() as connection:
        row = await connection.fetchrow(query, id_)
    return dict(row) if row else {}


async def test_documents_are_stored_with_their_passages_and_vectors(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    markdown = text(
        "guide/install.md",
        b"# Install\n\nRun it.",
        source="https://example.com/install",
        metadata={"team": "docs"},
    )
    async with instance.working():
        status = await instance.done(markdown, text("note", "Call Ada.", title="A note"))
    assert (status.total, status.imported, status.failed, status.passages) == (2, 2, 0, 2)
    assert await passages(store, "guide/install.md") == ["# Install\n\nRun it."]
    stored = await document(store, "guide/install.md")
    assert (stored["title"], stored["source"]) == ("Install", "https://example.com/install")
    assert stored["metadata"] == '{"team": "docs"}'
    assert (await document(store, "note"))["title"] == "A note"
    assert sorted(embedder.texts) == ["# Install\n\nRun it.", "Call Ada."]
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunk_vectors") == 2
        assert await connection.fetchval("SELECT count(content) FROM import_items") == 0


async def test_what_is_unchanged_is_counted_at_once_and_costs_nothing(
    instance: Instance, embedder: FakeEmbedder
) -> None:
    async with instance.working():
        await instance.done(text("a"), text("b"))
        embedder.calls = 0
        again = await instance.start(text("a"), text("b"))
    assert again.finished_at is not None
    assert (again.total, again.unchanged, again.imported) == (2, 2, 0)
    assert embedder.calls == 0


async def test_new_metadata_are_stored_without_embedding(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    async with instance.working():
        await instance.done(text("a", title="Old", metadata={"x": 1}))
        before = (await instance.knowledge.collection(1, "docs")).version
        embedder.calls = 0
        again = await instance.start(
            text("a", title="New", source="there", metadata={"y": [1, {"z": None}]})
        )
        assert again.unchanged == 1
        untitled = await instance.start(text("a", source="there", metadata={"y": [1, {"z": None}]}))
        assert untitled.unchanged == 1
    stored = await document(store, "a")
    assert (stored["title"], stored["source"]) == ("New", "there")
    assert stored["metadata"] == '{"y": [1, {"z": null}]}'
    assert embedder.calls == 0
    # Cached results of searches must not tell the old ones.
    assert (await instance.knowledge.collection(1, "docs")).version == before + 1


async def test_new_content_replaces_the_old_at_once(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    old, new = "Old words. " * 300, "New words. " * 200
    async with instance.working():
        await instance.done(text("a", old))
        before = await passages(store, "a")
        embedder.gate.clear()
        started = await instance.start(text("a", new))
        calls = embedder.calls
        await until(lambda: _true(embedder.calls > calls))
        assert await passages(store, "a") == before
        embedder.gate.set()
        await instance.finished(started)
    after = await passages(store, "a")
    assert all("New" in passage for passage in after)
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM documents") == 1
        assert await connection.fetchval("SELECT count(*) FROM chunk_vectors") == len(after)


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value


async def test_a_broken_document_is_told_and_the_others_imported(instance: Instance) -> None:
    async with instance.working():
        status = await instance.done(
            text("good.md", b"# Good"),
            text("broken.pdf", BROKEN_PDF),
            text("blob.txt", b"\x00\x01\x02\xff" * 50),
            text("blank.html", b"<script>secret</script>"),
            text("also good", "Fine."),
        )
    assert (status.imported, status.failed) == (2, 3)
    told = {failure.document_id: failure.reason for failure in status.failures}
    assert told == {
        "broken.pdf": "The document is no PDF that can be read: it is broken.",
        "blob.txt": "The document is no text.",
        "blank.html": "The document has no text.",
    }


async def test_without_an_embedder_documents_are_found_by_words(store: Store) -> None:
    instance = Instance(store, None)
    await instance.collection()
    async with instance.working():
        status = await instance.done(text("a", "Zebras graze."))
    assert status.imported == 1
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunk_vectors") == 0
        found = "SELECT document FROM knowledge_search('default', 'docs', 'zebra')"
        assert await connection.fetchval(found) == "a"


async def test_an_embedder_that_is_down_is_waited_for(
    instance: Instance, embedder: FakeEmbedder
) -> None:
    embedder.down = True
    async with instance.working():
        started = await instance.start(text("a"))
        # More often than a document is tried.
        await until(lambda: _true(embedder.calls > instance.group.rules.attempts + 1))
        assert (await instance.importing.status(ANYONE, started.id)).failed == 0
        embedder.down = False
        status = await instance.finished(started)
    assert status.imported == 1


async def test_an_embedder_of_another_model_is_told(store: Store, instance: Instance) -> None:
    async with instance.working():
        await instance.done(text("a"))
    other = Instance(store, FakeEmbedder(space=EmbeddingSpace("other", 8)))
    async with other.working():
        status = await other.done(text("b"))
    assert status.failed == 1
    assert "ailb rag reindex docs" in status.failures[0].reason


async def test_what_a_dead_worker_had_is_taken_up_again(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    started = await instance.start(text("a"), text("b"))
    dead = await instance.items.claim(1, Claim(uuid4(), 10, 1 << 20, lease_s=0.3))
    assert len(dead) == 2
    nothing = await instance.items.claim(1, Claim(uuid4(), 10, 1 << 20, lease_s=0.3))
    assert nothing == []
    async with Instance(store, embedder).working():
        status = await instance.finished(started)
    assert (status.imported, status.unchanged) == (2, 0)


async def test_a_worker_that_lost_its_lease_stores_nothing(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    started = await instance.start(text("a"))
    worker = uuid4()
    late = await instance.items.claim(1, Claim(worker, 10, 1 << 20, lease_s=0.0))
    other = await instance.items.claim(1, Claim(uuid4(), 10, 1 << 20, lease_s=60))
    assert [item.id for item in late] == [item.id for item in other]
    await instance.group.run(worker, late)
    assert await document(store, "a") == {}
    assert (await instance.importing.status(ANYONE, started.id)).imported == 0
    await instance.extraction.close()


async def test_a_worker_that_is_stopped_leaves_its_work_to_others_at_once(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    embedder.gate.clear()
    async with instance.working():
        started = await instance.start(text("a"))
        await until(lambda: _true(embedder.calls == 1))
    other = Instance(store, FakeEmbedder())
    async with other.working():
        assert (await other.finished(started)).imported == 1


async def test_a_document_that_ends_every_worker_is_given_up(
    store: Store, instance: Instance
) -> None:
    started = await instance.start(text("a"))
    for _ in range(instance.group.rules.attempts):
        assert await instance.items.claim(1, Claim(uuid4(), 1, 1, lease_s=0))
    async with instance.working():
        status = await instance.finished(started)
    assert status.failures[0].reason == "The document was given up after 5 tries."


async def test_versions_of_a_document_are_imported_in_order(
    store: Store, instance: Instance
) -> None:
    first = await instance.start(text("a", "one"))
    second = await instance.start(text("a", "two"))
    third = await instance.start(text("a", "one"))
    items = await instance.items.claim(1, Claim(uuid4(), 10, 1 << 20, lease_s=0))
    assert [item.document.content for item in items] == [b"one"]
    async with instance.working():
        for started in (first, second, third):
            assert (await instance.finished(started)).imported == 1
    assert await passages(store, "a") == ["one"]


async def test_what_may_wait_is_bounded_by_tenant(store: Store, embedder: FakeEmbedder) -> None:
    instance = Instance(store, embedder, intake=IntakeRules(documents=3, bytes=100))
    await instance.collection()
    sql_other = "INSERT INTO tenants (name) VALUES ('other') RETURNING id"
    async with store.connection() as connection:
        other = Principal(await connection.fetchval(sql_other), "other")
    await instance.collection(who=other)
    await instance.start(text("a"), text("b"))
    with pytest.raises(OverloadedError) as raised:
        await instance.start(text("c"), text("d"))
    assert raised.value.retry_after_s
    with pytest.raises(OverloadedError):
        await instance.start(text("c", "x" * 100))
    await instance.start(text("c"))
    await instance.start(text("a"), who=other)


async def test_tenants_take_turns(store: Store, instance: Instance) -> None:
    async with store.connection() as connection:
        other = Principal(
            await connection.fetchval("INSERT INTO tenants (name) VALUES ('other') RETURNING id"),
            "other",
        )
    await instance.collection(who=other)
    for batch in range(3):
        await instance.start(*(text(f"{batch}-{n}") for n in range(4)))
    await instance.start(text("mine"), who=other)
    worker = Instance(store, FakeEmbedder(), rules=quick(group_documents=4)).worker
    turns = [await worker._claim(uuid4()) for _ in range(4)]
    assert [items[0].tenant_id for items in turns] == [1, other.tenant_id, 1, 1]


async def test_another_tenant_sees_nothing_of_an_import(store: Store, instance: Instance) -> None:
    stranger = Principal(99, "stranger")
    started = await instance.start(text("a"))
    with pytest.raises(NotFoundError):
        await instance.importing.status(stranger, started.id)
    with pytest.raises(NotFoundError):
        async for _ in instance.importing.watch(stranger, started.id):
            pass
    with pytest.raises(NotFoundError):
        await instance.start(text("a"), who=stranger)
    assert await instance.items.claim(99, Claim(uuid4(), 10, 1 << 20, 1)) == []


@pytest.mark.parametrize("id_", ["", "no-uuid", "00000000-0000-0000-0000-000000000000"])
async def test_an_import_that_is_not_there(instance: Instance, id_: str) -> None:
    with pytest.raises(NotFoundError):
        await instance.importing.status(ANYONE, id_)


async def test_a_watcher_is_told_of_every_change_it_can_see(
    instance: Instance, embedder: FakeEmbedder
) -> None:
    embedder.gate.clear()
    started = await instance.start(text("a"), text("b"))
    seen = []
    async with instance.working():
        async for status in instance.importing.watch(ANYONE, started.id):
            seen.append((status.imported, status.finished_at is not None))
            embedder.gate.set()
    assert seen[0] == (0, False)
    assert seen[-1] == (2, True)
    assert len(set(seen)) == len(seen)


async def test_a_collection_deleted_meanwhile_takes_its_imports_along(
    store: Store, instance: Instance, embedder: FakeEmbedder
) -> None:
    embedder.gate.clear()
    async with instance.working():
        started = await instance.start(text("a"))
        await until(lambda: _true(embedder.calls == 1))
        await instance.knowledge.delete_collection(1, "docs")
        embedder.gate.set()
        await instance.collection("more")
        assert (await instance.done(text("b"), collection="more")).imported == 1
    with pytest.raises(NotFoundError):
        await instance.importing.status(ANYONE, started.id)


async def test_old_imports_are_removed(store: Store, instance: Instance, migrated_dsn: str) -> None:
    async with instance.working():
        old = await instance.done(text("a"), text("broken.pdf", BROKEN_PDF))
        await instance.done(text("b"))
    waiting = await instance.start(text("c"))
    sql(
        migrated_dsn,
        f"UPDATE imports SET finished_at = now() - interval '8 days' WHERE id = '{old.id}'",  # noqa: S608
    )
    assert await instance.imports.remove_old(7, 100) == 1
    with pytest.raises(NotFoundError):
        await instance.importing.status(ANYONE, old.id)
    assert (await instance.importing.status(ANYONE, waiting.id)).total == 1
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM import_items") == 2
        assert await connection.fetchval("SELECT count(*) FROM documents") == 2


async def test_workers_stopped_at_any_moment_lose_and_repeat_nothing(
    store: Store, instance: Instance
) -> None:
    moments = random.Random(7)  # noqa: S311
    embedder = FakeEmbedder(cost_s=0.001)
    started = [await instance.start(*(text(f"{job}-{n}") for n in range(80))) for job in range(3)]
    for _ in range(6):
        async with Instance(store, embedder).working():
            await asyncio.sleep(moments.uniform(0, 0.3))
    async with Instance(store, embedder).working():
        ended = [await instance.finished(status) for status in started]
    # One that was stopped between a document and its note finds it unchanged.
    assert [(s.imported + s.unchanged, s.failed) for s in ended] == [(80, 0)] * 3
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks") == 240
