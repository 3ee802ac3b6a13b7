"""Finds the model that the settings name, and the runtime that can run it."""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ailb_server.embedding.encoder import Encoder
from ailb_server.embedding.model_files import ModelError, has_weights, onnx_file, recipe

Runtime: TypeAlias = Literal["auto", "onnx", "torch"]
# Bytes of a download that are there, of how many.
Progress: TypeAlias = Callable[[int, int], None]

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime", "tokenizers"),
    "torch": ("sentence_transformers", "torch"),
}
_INSTALL: Mapping[str, str] = {
    "onnx": "pip install 'ailb-server[embed]'",
    "torch": "pip install 'ailb-server[embed-torch]'",
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the settings say: a directory or a name at the hub, the commit there, the runtime."""

    model: str
    revision: str | None = None
    runtime: Runtime = "auto"

    @property
    def directory(self) -> Path | None:
        """The model's directory, if it names one: a path, or what is there under the name."""
        path = Path(self.model).expanduser()
        named = self.model.startswith((".", "/", "~")) or path.is_dir()
        return path if named else None

    @property
    def name(self) -> str:
        """As stored beside vectors and told to callers: without the path to a directory, which
        differs from machine to machine."""
        return self.directory.resolve().name if self.directory else self.model


def installed(runtime: str) -> bool:
    """Whether its packages are there, without importing them."""
    return all(importlib.util.find_spec(package) for package in _PACKAGES[runtime])


def missing_packages(runtime: Runtime) -> str:
    """Why no model can run here; empty if one can."""
    if runtime == "auto":
        fine = installed("onnx") or installed("torch")
        return "" if fine else f"no runtime is installed: {_INSTALL['onnx']}"
    return "" if installed(runtime) else f"{runtime} is not installed: {_INSTALL[runtime]}"


def load(spec: ModelSpec, progress: Progress) -> tuple[str, Encoder]:
    """The runtime's name and the loaded model. Blocks, for as long as a download takes. Raises
    ModelError."""
    if missing := missing_packages(spec.runtime):
        raise ModelError(missing)
    faults: list[ModelError] = []
    for runtime in _candidates(spec):
        directory = _directory(spec, runtime, progress)
        encoder = _loaded(runtime, directory, faults)
        if encoder is not None:
            return runtime, encoder
    raise faults[0] if faults else ModelError(_lacking(spec))


def _directory(spec: ModelSpec, runtime: str, progress: Progress) -> Path:
    directory = spec.directory
    if directory is None:
        if not importlib.util.find_spec("huggingface_hub"):
            raise ModelError(f"huggingface_hub is not installed: {_INSTALL['onnx']}")
        from ailb_server.embedding import hub  # noqa: PLC0415

        files = hub.ONNX_FILES if runtime == "onnx" else hub.TORCH_FILES
        return hub.fetched(spec.model, spec.revision, files, progress)
    # Nothing may look for it elsewhere: these are read when the packages are imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if not directory.is_dir():
        raise ModelError(f"EMBEDDING_MODEL {directory} is no directory")
    return directory


def _candidates(spec: ModelSpec) -> Sequence[str]:
    asked = ("onnx", "torch") if spec.runtime == "auto" else (spec.runtime,)
    return [runtime for runtime in asked if installed(runtime)]


def _loaded(runtime: str, directory: Path, faults: list[ModelError]) -> Encoder | None:
    """None if the directory has not what the runtime needs, or asks for more than it can."""
    try:
        return _onnx(directory) if runtime == "onnx" else _torch(directory)
    except ModelError as error:
        faults.append(error)
        return None


def _onnx(directory: Path) -> Encoder | None:
    graph = onnx_file(directory)
    if graph is None:
        return None
    # Each runtime takes from 60 to 500 MB: the other one is never imported.
    from ailb_server.embedding.onnx_encoder import OnnxEncoder  # noqa: PLC0415

    return OnnxEncoder(directory, graph, recipe(directory))


def _torch(directory: Path) -> Encoder | None:
    if not has_weights(directory):
        return None
    from ailb_server.embedding.torch_encoder import TorchEncoder  # noqa: PLC0415

    return TorchEncoder(directory)


def _lacking(spec: ModelSpec) -> str:
    where = str(spec.directory or f"the hub's model {spec.model}")
    onnx = "no onnx/model.onnx with its tokenizer.json"
    if spec.runtime == "auto" and not installed("torch"):
        return f"{where} has {onnx}, and torch is not installed: {_INSTALL['torch']}"
    wanted = {"onnx": onnx, "torch": "no model.safetensors"}
    return f"{where} has {wanted.get(spec.runtime, 'neither an ONNX graph nor weights')}"
