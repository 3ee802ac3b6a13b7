"""Fetches a model from the hub, once: only the files that its runtime needs."""

import io
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from ailb_server.embedding.model_files import ModelError

# Bytes that are there, of how many.
Progress: TypeAlias = Callable[[int, int], None]

_DESCRIPTIONS = ("*.json", "*.txt", "*.model", "[0-9]_*/*.json")
ONNX_FILES = (*_DESCRIPTIONS, "onnx/model.onnx", "onnx/model.onnx_data", "model.onnx")
TORCH_FILES = (*_DESCRIPTIONS, "*.safetensors", "[0-9]_*/*.safetensors")


def fetched(model: str, revision: str | None, files: Sequence[str], progress: Progress) -> Path:
    """The directory of the model in the hub's cache (`HF_HOME`), with those of `files` it has.

    What is in the cache is used without asking the hub: a model must not change under the vectors
    that it made. `revision` is a commit; None is the newest one at the first fetch. Raises
    ModelError.
    """
    # Each of its tries, several times; what comes of them is told once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    wanted = partial(
        snapshot_download, repo_id=model, revision=revision, allow_patterns=list(files)
    )
    try:
        return Path(wanted(local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ModelError(f"{model} is neither a directory nor a model's name at the hub") from error
    # Before the first byte, too: a hub that cannot be reached takes half a minute to give up.
    progress(0, 0)
    try:
        return Path(wanted(tqdm_class=_bar(progress)))
    except Exception as error:
        raise ModelError(_complaint(model, revision, error)) from error


def _complaint(model: str, revision: str | None, error: Exception) -> str:
    """The first fitting line: the hub's errors derive from each other."""
    lines: dict[type[Exception], str] = {
        RevisionNotFoundError: f"the hub's model {model} has no revision {revision}",
        GatedRepoError: f"the hub's model {model} asks for consent: give it there, set HF_TOKEN",
        RepositoryNotFoundError: f"the hub has no model {model}, or HF_TOKEN may not read it",
        LocalEntryNotFoundError: f"the model {model} is not in the cache and the hub cannot be"
        " reached: set EMBEDDING_MODEL to a directory that holds a model, or EMBEDDING_BACKEND",
    }
    for kind, line in lines.items():
        if isinstance(error, kind):
            return line
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"the hub answered {error.response.status_code} for the model {model}"
    why = error.strerror if isinstance(error, OSError) else None
    return f"the model {model} cannot be fetched: {why or type(error).__name__}"


def _bar(progress: Progress) -> type[Any]:
    """A class of tqdm's that draws nothing and tells bytes."""

    def start(self: Any, *arguments: object, **named: object) -> None:
        tqdm.__init__(self, *arguments, **{**named, "file": io.StringIO(), "mininterval": 0.5})

    def display(self: Any, *_: object, **__: object) -> None:
        if self.unit == "B" and self.n:
            progress(int(self.n), int(self.total or 0))

    # Not by a class statement: tqdm has no types to derive from.
    return type("ToldBar", (tqdm,), {"__init__": start, "display": display})
