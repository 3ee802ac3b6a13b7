"""Every way in which the hub fails, in words that say what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ailb_server.embedding import hub
from ailb_server.embedding.model_files import ModelError


def http(kind: Callable[..., HfHubHTTPError], status: int) -> HfHubHTTPError:
    request = httpx2.Request("GET", "https://hub.example/secret")
    return kind("said", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (LocalEntryNotFoundError("x"), "hub cannot be reached: set EMBEDDING_MODEL"),
        (http(RepositoryNotFoundError, 404), "the hub has no model a/b"),
        (http(GatedRepoError, 403), "asks for consent"),
        (http(RevisionNotFoundError, 404), "no revision abc"),
        (http(HfHubHTTPError, 503), "answered 503"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("secret"), "cannot be fetched: RuntimeError"),
    ],
)
def test_a_fault_is_told(monkeypatch: pytest.MonkeyPatch, fault: Exception, words: str) -> None:
    told: list[tuple[int, int]] = []

    def download(*, local_files_only: bool = False, **_: Any) -> str:
        raise LocalEntryNotFoundError("not cached") if local_files_only else fault

    monkeypatch.setattr(hub, "snapshot_download", download)
    with pytest.raises(ModelError, match=words) as raised:
        hub.fetched("a/b", "abc", hub.ONNX_FILES, lambda done, total: told.append((done, total)))
    assert "secret" not in str(raised.value)
    assert told == [(0, 0)]


def test_what_is_cached_asks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(*, local_files_only: bool = False, **_: Any) -> str:
        assert local_files_only
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert hub.fetched("a/b", None, hub.ONNX_FILES, lambda done, total: None) == tmp_path
