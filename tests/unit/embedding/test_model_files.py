"""What a model's directory says, in the old shape and the new one; beyond it, clear words."""

import json
from pathlib import Path
from typing import Any

import pytest

from ailb_server.embedding.loading import ModelSpec, load
from ailb_server.embedding.model_files import ModelError, Recipe, has_weights, onnx_file, recipe

TRANSFORMER = {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NEW_POOLING = {
    **POOLING,
    "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
}
NORMALIZE = {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
DENSE = {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def model(directory: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return directory


@pytest.mark.parametrize(
    ("module", "config", "pooling"),
    [
        (POOLING, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        (POOLING, {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        (NEW_POOLING, {"embedding_dimension": 384, "pooling_mode": "cls"}, "cls"),
        (NEW_POOLING, {"embedding_dimension": 384, "pooling_mode": "mean"}, "mean"),
    ],
)
def test_pooling_and_length(
    tmp_path: Path, module: dict[str, Any], config: dict[str, Any], pooling: Any
) -> None:
    files = {
        "modules.json": [TRANSFORMER, module, NORMALIZE],
        "1_Pooling/config.json": config,
        "sentence_bert_config.json": {"max_seq_length": 256},
        "tokenizer_config.json": {"model_max_length": 512},
    }
    assert recipe(model(tmp_path, files)) == Recipe(pooling, 256)


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({}, 512),
        ({"tokenizer_config.json": {"model_max_length": 128}}, 128),
        ({"tokenizer_config.json": {"model_max_length": int(1e30)}}, 512),
        ({"config.json": {"max_position_embeddings": 8192}}, 8192),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 512),
    ],
)
def test_a_plain_transformer_is_averaged(
    tmp_path: Path, files: dict[str, Any], tokens: int
) -> None:
    assert recipe(model(tmp_path, files)) == Recipe("mean", tokens)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"modules.json": [TRANSFORMER, POOLING, DENSE], "1_Pooling/config.json": {}}, "none"),
        (
            {
                "modules.json": [TRANSFORMER, POOLING, DENSE],
                "1_Pooling/config.json": {"pooling_mode": "mean"},
            },
            "Dense",
        ),
        (
            {"modules.json": [POOLING], "1_Pooling/config.json": {"pooling_mode": "lasttoken"}},
            "lasttoken",
        ),
        (
            {
                "modules.json": [POOLING],
                "1_Pooling/config.json": {
                    "pooling_mode_mean_tokens": True,
                    "pooling_mode_max_tokens": True,
                },
            },
            "pooling_mode_max_tokens",
        ),
        ({"config_sentence_transformers.json": {"default_prompt_name": "query"}}, "prompt"),
    ],
)
def test_what_onnx_would_get_wrong_is_refused(
    tmp_path: Path, files: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as refused:
        recipe(model(tmp_path, files))
    assert "EMBEDDING_RUNTIME=torch" in str(refused.value)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"modules\.json"):
        recipe(tmp_path)


def test_a_graph_needs_its_tokenizer(tmp_path: Path) -> None:
    model(tmp_path, {"onnx/model.onnx": 1, "model.safetensors": 1})
    assert onnx_file(tmp_path) is None
    assert has_weights(tmp_path)
    model(tmp_path, {"tokenizer.json": {}, "model.onnx": 1})
    assert onnx_file(tmp_path) == tmp_path / "onnx" / "model.onnx"


@pytest.mark.parametrize(
    ("given", "directory", "name"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", False, "sentence-transformers/all-MiniLM-L6-v2"),
        ("/models/all-MiniLM-L6-v2/", True, "all-MiniLM-L6-v2"),
        ("./mine", True, "mine"),
        ("~/mine", True, "mine"),
    ],
)
def test_a_path_is_told_from_a_name(given: str, directory: bool, name: str) -> None:  # noqa: FBT001
    spec = ModelSpec(given)
    assert (spec.directory is not None, spec.name) == (directory, name)


def test_a_directory_without_a_model_says_so(tmp_path: Path) -> None:
    model(tmp_path, {"config.json": {}})
    with pytest.raises(ModelError, match="no onnx/model"):
        load(ModelSpec(str(tmp_path), None, "onnx"), lambda done, total: None)
    with pytest.raises(ModelError, match="is no directory"):
        load(ModelSpec(str(tmp_path / "not"), None, "onnx"), lambda done, total: None)
