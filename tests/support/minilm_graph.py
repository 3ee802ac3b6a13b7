"""all-MiniLM-L6-v2 as an ONNX graph, from its safetensors: needs numpy and onnx, no torch.

The graph ends at the last hidden state, as the hub's own `onnx/model.onnx` does. Layers are
onnxruntime's fused operators (ContribOperators.md); safetensors is eight bytes of length, a JSON
header, and the tensors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

HIDDEN = 384
_HEADS, _LAYERS = 12, 6
_FUSED = "com.microsoft"
_EPSILON = 1e-12
_TYPES: Mapping[str, type[np.generic]] = {"F32": np.float32, "I64": np.int64}


def save_graph(safetensors: Path, target: Path) -> None:
    """Writes the graph."""
    onnx.save(_Graph(_tensors(safetensors)).model(), str(target))


def _tensors(path: Path) -> Mapping[str, Array]:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    found: dict[str, Array] = {}
    for name, told in header.items():
        if name != "__metadata__":
            first, last = told["data_offsets"]
            piece = content[start + first : start + last]
            found[name] = np.frombuffer(piece, _TYPES[told["dtype"]]).reshape(told["shape"])
    return found


@dataclass
class _Graph:
    weights: Mapping[str, Array]
    constants: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)

    def model(self) -> Any:
        self._node("Cast", ["input_ids"], "ids", to=TensorProto.INT32)
        self._node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        hidden = self._embeddings()
        for layer in range(_LAYERS):
            hidden = self._layer(layer, hidden)
        self._node("Identity", [hidden], "last_hidden_state")
        shape = ["texts", "tokens"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [*shape, HIDDEN]
        )
        graph = helper.make_graph(self.nodes, "minilm", inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _embeddings(self) -> str:
        w = self.weights
        # Every token is of type 0.
        positions = (
            w["embeddings.position_embeddings.weight"]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        inputs = [
            *("ids", "", self._constant("words", w["embeddings.word_embeddings.weight"])),
            *(self._constant("positions", positions), ""),
            *(self._copied("embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias")),
        ]
        outputs = ["embedded", "mask_index"]
        self.nodes.append(
            helper.make_node(
                "EmbedLayerNormalization", inputs, outputs, domain=_FUSED, epsilon=_EPSILON
            )
        )
        return "embedded"

    def _layer(self, layer: int, hidden: str) -> str:
        name = f"encoder.layer.{layer}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        joined = np.concatenate([self.weights[f"{part}.weight"].T for part in parts], 1)
        biases = np.concatenate([self.weights[f"{part}.bias"] for part in parts])
        attention = self._fused(
            "Attention",
            [
                hidden,
                self._constant(f"{name}.qkv", joined),
                self._constant(f"{name}.qkv_bias", biases),
                "mask",
            ],
            f"{name}.attended",
            num_heads=_HEADS,
        )
        attended = self._added(f"{name}.attention.output", attention, hidden)
        grown = self._product(f"{name}.intermediate.dense", attended)
        bias = self._copied(f"{name}.intermediate.dense.bias")
        active = self._fused("BiasGelu", [grown, *bias], f"{name}.active")
        return self._added(f"{name}.output", active, attended)

    def _added(self, name: str, given: str, skipped: str) -> str:
        dense = self._product(f"{name}.dense", given)
        norm = self._copied(
            f"{name}.LayerNorm.weight", f"{name}.LayerNorm.bias", f"{name}.dense.bias"
        )
        inputs = [dense, skipped, *norm]
        return self._fused("SkipLayerNormalization", inputs, f"{name}.normed", epsilon=_EPSILON)

    def _product(self, name: str, given: str) -> str:
        weight = self._constant(f"{name}.transposed", self.weights[f"{name}.weight"].T)
        return self._node("MatMul", [given, weight], f"{name}.product")

    def _copied(self, *names: str) -> Sequence[str]:
        return [self._constant(name, self.weights[name]) for name in names]

    def _constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _fused(self, kind: str, inputs: Sequence[str], output: str, **attributes: float) -> str:
        return self._node(kind, inputs, output, domain=_FUSED, **attributes)

    def _node(
        self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **named: Any
    ) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **named))
        return output
