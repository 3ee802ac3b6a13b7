"""From settings to embedders."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.domain.chat import Operation
from ailb_server.domain.embedding import Embedder
from ailb_server.domain.health import PartHealth
from ailb_server.embedding.link import WorkerLink
from ailb_server.embedding.loading import ModelSpec, missing_packages
from ailb_server.embedding.local import LocalEmbedder, LocalRules
from ailb_server.embedding.local_provider import LOCAL, LocalProvider
from ailb_server.embedding.no_embedder import NoEmbedder
from ailb_server.embedding.observer import EmbeddingObserver
from ailb_server.embedding.provider_embedder import Pipeline, ProviderEmbedder, ProviderRules
from ailb_server.routing.catalogue import Declaration
from ailb_server.settings import Settings

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# A model that changes under the vectors it has made would spoil them all.
DEFAULT_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
OWNER = "ailb"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Embedders:
    """One model, asked in two ways: `query` by a chat that waits, `bulk` by imports and the like,
    which wait for every query. `health` is the component `embedder`; not `present`, there will be
    none until somebody installs or configures one."""

    query: Embedder
    bulk: Embedder
    health: Callable[[], PartHealth]
    present: bool = True


def start_local_embedder(
    settings: Settings, observer: EmbeddingObserver, closing: AsyncExitStack
) -> LocalEmbedder | None:
    """EMBEDDING_BACKEND=local, its worker starting; None for another one, or without packages."""
    if settings.embedding_backend != "local" or missing_packages(settings.embedding_runtime):
        return None
    rules = LocalRules(query_s=settings.embedding_timeout_s)
    embedder = LocalEmbedder(WorkerLink(model_spec(settings)), observer, rules)
    embedder.start()
    closing.push_async_callback(embedder.close)
    return embedder


def local_provider(settings: Settings, embedder: LocalEmbedder | None) -> LocalProvider | None:
    """The local model for `POST /v1/embeddings`."""
    return LocalProvider(embedder, model_spec(settings).name) if embedder else None


def tell_of_clash() -> None:
    """A configured provider has the local model's name: that wins."""
    _log.warning("the local model is not served: another provider is named `%s`", LOCAL)


def local_declaration(provider: LocalProvider) -> Declaration:
    """What the catalogue is told of it."""
    embeds = frozenset({Operation.EMBEDDING})
    return Declaration(LOCAL, OWNER, provider, provider.models, operations=embeds)


def open_embedders(
    settings: Settings,
    local: LocalEmbedder | None,
    pipeline: Pipeline,
    observer: EmbeddingObserver,
    closing: AsyncExitStack,
) -> Embedders:
    """What memory and knowledge embed with. `pipeline` is for EMBEDDING_BACKEND=provider."""
    if local is not None:
        return Embedders(local, local.bulk, local.health)
    if settings.embedding_backend == "provider":
        rules = ProviderRules(query_s=settings.embedding_timeout_s)
        provided = ProviderEmbedder(pipeline, settings.embedding_model, observer, rules)
        provided.start()
        closing.push_async_callback(provided.close)
        return Embedders(provided, provided.bulk, provided.health)
    none = _none(settings)
    return Embedders(none, none, none.health, present=False)


def model_spec(settings: Settings) -> ModelSpec:
    """The model that the settings name; the default one at a pinned commit."""
    revision = settings.embedding_model_revision
    if revision is None and settings.embedding_model == DEFAULT_MODEL:
        revision = DEFAULT_REVISION
    return ModelSpec(settings.embedding_model, revision, settings.embedding_runtime)


def _none(settings: Settings) -> NoEmbedder:
    if settings.embedding_backend == "none":
        return NoEmbedder("EMBEDDING_BACKEND is `none`", chosen=True)
    return NoEmbedder(missing_packages(settings.embedding_runtime), chosen=False)
