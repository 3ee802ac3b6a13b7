"""Tries at collections: every RPC, and every method of the store that is a tenant's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from ailb.v1 import knowledge_pb2
from ailb.v1 import knowledge_service_pb2 as pb
from ailb_server.api.import_calls import ImportRpcs
from ailb_server.api.knowledge_service import KnowledgeService
from ailb_server.api.messages.structs import struct_of
from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.imports import Backlog, Claim, Done, ImportItem
from ailb_server.domain.knowledge import Collection, TellingWords, WordQuery
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.chat import ChatKnowledge
from ailb_server.knowledge.importing import DocumentInput, Importing
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.storage.import_items import PostgresImportItems
from ailb_server.storage.imports import PostgresImports
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.pool import Store
from tests.integration.knowledge.conftest import Shelf, new_document
from tests.integration.tenants.tries import CARL, NAMES, TENANTS, Calls, Try, called, mark, own
from tests.support.word_embedder import HashingEmbedder, vector_of

WORDS = ("apple", "secret", "annassecret", "bertssecret", "nothing")
# Of all tenants, for background tasks: nobody is shown what they read.
NOBODYS = {"remove_old", "next_tenant"}
# They are given a tenant and no number of anything's: the RPCs' tries are theirs too.
BY_TENANT = {"create_collection", "list_collections"}


class NoIndexes:
    """There is too little for any."""

    async def build(self, collection_id: int, generation: int, dimension: int) -> None:
        pass


@dataclass(frozen=True)
class Shelves:
    """What the tenants have stored, and what they know of each other's."""

    rows: PostgresKnowledge
    imports: PostgresImports
    items: PostgresImportItems
    service: KnowledgeService
    chat: ChatKnowledge
    space: EmbeddingSpace
    collections: Sequence[Collection]
    chunks: Sequence[int]
    work: Sequence[ImportItem]
    worker: UUID


async def shelves(store: Store) -> Shelves:
    """Everybody has the same documents, but for their mark, and an import on its way."""
    rows, embedder, worker = PostgresKnowledge(store), HashingEmbedder(), uuid4()
    imports, items = PostgresImports(store), PostgresImportItems(store)
    importing = Importing(rows, imports, lambda: None)
    retriever = Retriever(rows, embedder, ResultCache(1000))
    service = KnowledgeService(
        rows, retriever, Reindexing(rows, embedder, NoIndexes()), ImportRpcs(importing)
    )
    collections = [one for who in TENANTS for one in await _filled(rows, embedder, who)]
    work: list[ImportItem] = []
    for who in TENANTS:
        documents = [DocumentInput("b", f"text of {mark(who)}")]
        await importing.start(who, "shared", documents)
        work += await items.claim(who.tenant_id, Claim(worker, 9, 9999, 3600))
    async with store.connection() as connection:
        chunks = [row["id"] for row in await connection.fetch("SELECT id FROM chunks")]
    assert embedder.space is not None
    return Shelves(
        rows=rows,
        imports=imports,
        items=items,
        service=service,
        chat=ChatKnowledge(retriever),
        space=embedder.space,
        collections=collections,
        chunks=chunks,
        work=work,
        worker=worker,
    )


def rpc(state: Shelves, draw: random.Random) -> Try:
    """A call of the service, or a chat's search."""
    who, name = draw.choice(TENANTS), draw.choice(NAMES)
    requests = {**_reading(state, name, draw), **(_writing(name, draw) if who == CARL else {})}
    calls = {method: called(state.service, method, asked) for method, asked in requests.items()}
    calls["WatchImport"] = called(state.service, "WatchImport", requests["WatchImport"], most=1)
    query = KnowledgeQuery(name, draw.choice(WORDS), draw.randrange(1, 9))
    calls["retrieve"] = lambda: state.chat.retrieve(who, query)
    method = draw.choice(list(calls))
    return Try(method, who, calls[method])


def _reading(state: Shelves, name: str, draw: random.Random) -> dict[str, Any]:
    import_id = str(draw.choice(state.work).import_id)
    document, size = draw.choice("abx"), draw.randrange(1, 9)
    tenant = draw.choice(TENANTS)
    told = draw.choice(({}, {"tenant": mark(tenant)}, {"tenant_id": tenant.tenant_id}))
    search = pb.SearchPassagesRequest(
        collection=name, query=draw.choice(WORDS), top_k=size, filter=struct_of(told)
    )
    return {
        "ListCollections": pb.ListCollectionsRequest(page_size=size),
        "GetCollection": pb.GetCollectionRequest(collection=name),
        "GetImport": pb.GetImportRequest(import_id=import_id),
        "WatchImport": pb.WatchImportRequest(import_id=import_id),
        "ListDocuments": pb.ListDocumentsRequest(collection=name, page_size=size),
        "GetDocument": pb.GetDocumentRequest(collection=name, document_id=document),
        "SearchPassages": search,
    }


def _writing(name: str, draw: random.Random) -> dict[str, Any]:
    mine, text = draw.choice(own(CARL)), f"{draw.choice(WORDS[:2])} of {mark(CARL)}"
    documents = [knowledge_pb2.DocumentInput(id=draw.choice("abx"), text=text)]
    return {
        "CreateCollection": pb.CreateCollectionRequest(name=mine),
        "DeleteCollection": pb.DeleteCollectionRequest(collection=name),
        "ImportDocuments": pb.ImportDocumentsRequest(collection=name, documents=documents),
        "DeleteDocument": pb.DeleteDocumentRequest(collection=name, document_id=draw.choice("abx")),
        "ReindexCollection": pb.ReindexCollectionRequest(collection=name),
    }


def stored(state: Shelves, draw: random.Random) -> Try:
    """A call of the store, as if a fault of ours had mixed up two tenants: the numbers are right,
    the tenant is not. Nothing at all may come of it."""
    target, item = draw.choice(state.collections), draw.choice(state.work)
    others = [who for who in TENANTS if who.tenant_id not in (target.tenant_id, item.tenant_id)]
    who = draw.choice(others)
    forged = replace(target, tenant_id=who.tenant_id)
    forged_item = replace(item, tenant_id=who.tenant_id)
    calls = {
        **_searches(state, forged, draw),
        **_changes(state, forged, draw),
        **_work(state, forged, forged_item),
    }
    name = draw.choice(list(calls))
    return Try(name, who, calls[name], forged=True)


def _searches(state: Shelves, forged: Collection, draw: random.Random) -> Calls:
    rows, vector, number = state.rows, vector_of("apple", state.space), draw.randrange(1, 9)
    metadata = draw.choice(({}, {"tenant": mark(draw.choice(TENANTS))}))
    words = WordQuery(draw.choice(WORDS), 3, TellingWords(["appl", "secret"]))

    async def at_one_moment() -> object:
        async with rows.snapshot() as still:
            return await still.chunks(forged, state.chunks)

    return {
        "document": lambda: rows.document(forged, draw.choice("ab")),
        "list_documents": lambda: rows.list_documents(forged, "", number),
        "stored_hashes": lambda: rows.stored_hashes(forged, ["a", "b"]),
        "with_words": lambda: rows.with_words(forged, words, limit=number, metadata=metadata),
        "nearest": lambda: rows.nearest(forged, vector, limit=number, metadata=metadata),
        "similarities": lambda: rows.similarities(forged, vector, state.chunks),
        "chunks": lambda: rows.chunks(forged, state.chunks),
        "snapshot": at_one_moment,
        "unembedded": lambda: rows.unembedded(forged, number, 0, 9),
        "embedded_count": lambda: rows.embedded_count(forged, 1),
        "collection": lambda: rows.collection(forged.tenant_id, _not_own(forged)),
        "collection_for": lambda: rows.collection_for(forged.tenant_id, _not_own(forged), "apple"),
    }


def _changes(state: Shelves, forged: Collection, draw: random.Random) -> Calls:
    rows, space = state.rows, state.space
    other = draw.choice((space, EmbeddingSpace("another", space.dimension)))
    vectors = [(id_, vector_of("x", space)) for id_ in state.chunks]
    return {
        "replace_document": lambda: rows.replace_document(forged, new_document("a", "x"), []),
        "replace_documents": lambda: rows.replace_documents(
            forged, [(new_document(id_, "x"), []) for id_ in "ab"]
        ),
        "delete_document": lambda: rows.delete_document(forged, "a"),
        "delete_collection": lambda: rows.delete_collection(forged.tenant_id, _not_own(forged)),
        "begin_reindex": lambda: rows.begin_reindex(forged, other),
        "add_vectors": lambda: rows.add_vectors(forged, draw.randrange(1, 3), space, vectors),
        "finish_reindex": lambda: rows.finish_reindex(forged, other),
        "adopt_space": lambda: rows.adopt_space(forged, other),
    }


def _work(state: Shelves, forged: Collection, item: ImportItem) -> Calls:
    items, tenant, worker = state.items, item.tenant_id, state.worker
    ids = [one.id for one in state.work if one.tenant_id != tenant]
    return {
        "accept": lambda: state.imports.accept(
            forged.tenant_id, forged.id, [item.document], Backlog(99, 9999)
        ),
        "status": lambda: state.imports.status(tenant, str(item.import_id)),
        "renew": lambda: items.renew(tenant, worker, ids, 9),
        "release": lambda: items.release(tenant, worker, ids, delay_s=0, tried=False),
        "finish": lambda: items.finish(worker, {item: Done("failed")}),
        "stored": lambda: items.stored([item]),
        "amend": lambda: items.amend(item),
        "claim": lambda: items.claim(tenant, Claim(uuid4(), 9, 9999, 9)),
    }


def _not_own(forged: Collection) -> str:
    """The other tenant's name of it, or one that is nobody's."""
    return forged.name if forged.name != "shared" else "nobodys"


async def _filled(
    rows: PostgresKnowledge, embedder: HashingEmbedder, who: Principal
) -> Sequence[Collection]:
    shelf = Shelf(rows, embedder, who.tenant_id)
    for name in own(who):
        made = await shelf.make(name)
        for id_ in "ab":
            await shelf.put(made, id_, f"apple {id_}", f"secret: {mark(who)}", tenant=mark(who))
    return [await rows.collection(who.tenant_id, name) for name in own(who)]
