"""A sentence-transformers model's directory, as far as it says how to encode.

Source: sentence-transformers' `modules.json`, `<module>/config.json` and
`sentence_bert_config.json`, as `SentenceTransformer.save` writes them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Pooling: TypeAlias = Literal["mean", "cls"]

# In this order; the first is where the hub's sentence-transformers models have it.
_ONNX_FILES = ("onnx/model.onnx", "model.onnx")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
# A tokenizer without a limit says 1e30.
_NO_LIMIT = 1_000_000
_DEFAULT_TOKENS = 512
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}


class ModelError(Exception):
    """The model cannot be used; the message tells the operator why. It holds no text of callers."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What comes before and after the transformer. Texts beyond `max_tokens` are cut."""

    pooling: Pooling
    max_tokens: int


def onnx_file(directory: Path) -> Path | None:
    """The model as an ONNX graph, if it is there, and a tokenizer for it."""
    if not (directory / "tokenizer.json").is_file():
        return None
    return next((f for name in _ONNX_FILES if (f := directory / name).is_file()), None)


def has_weights(directory: Path) -> bool:
    """Whether torch could load it."""
    return any((directory / name).is_file() for name in _WEIGHTS)


def recipe(directory: Path) -> Recipe:
    """Raises ModelError for what only the package sentence-transformers can do."""
    pooling: Pooling = "mean"
    for module in _modules(directory):
        kind = str(module.get("type")).rpartition(".")[2]
        path = directory / str(module.get("path", ""))
        if kind == "Pooling":
            pooling = _pooling(_read(path / "config.json"))
        elif kind not in {"Transformer", "Normalize"}:
            raise _beyond(f"a module `{kind}`")
    if _read(directory / "config_sentence_transformers.json").get("default_prompt_name"):
        raise _beyond("a prompt before every text")
    return Recipe(pooling, _max_tokens(directory))


def _modules(directory: Path) -> list[dict[str, Any]]:
    found = _json(directory / "modules.json")
    return [m for m in found if isinstance(m, dict)] if isinstance(found, list) else []


def _pooling(config: dict[str, Any]) -> Pooling:
    # Since sentence-transformers 5.6 one name, before that one flag for each.
    named = config.get("pooling_mode")
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    if named in {"mean", "cls"} and not flags:
        return "cls" if named == "cls" else "mean"
    if named is None and len(flags) == 1 and flags[0] in _POOLINGS:
        return _POOLINGS[flags[0]]
    raise _beyond(f"a pooling other than mean and cls ({named or ', '.join(flags) or 'none'})")


def _max_tokens(directory: Path) -> int:
    told = (
        _read(directory / "sentence_bert_config.json").get("max_seq_length"),
        _read(directory / "tokenizer_config.json").get("model_max_length"),
        _read(directory / "config.json").get("max_position_embeddings"),
    )
    limits = [n for n in told if isinstance(n, int) and 0 < n < _NO_LIMIT]
    return limits[0] if limits else _DEFAULT_TOKENS


def _read(path: Path) -> dict[str, Any]:
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> object:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the model's file {path.name} cannot be read") from error


def _beyond(what: str) -> ModelError:
    return ModelError(
        f"the model has {what}, which the runtime onnx does not do: set EMBEDDING_RUNTIME=torch and"
        " install ailb-server[embed-torch]"
    )
