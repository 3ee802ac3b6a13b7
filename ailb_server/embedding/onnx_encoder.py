"""A model by onnxruntime: starts in half a second, and needs no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from ailb_server.embedding.encoder import Matrix
from ailb_server.embedding.model_files import ModelError, Pooling, Recipe

Integers = npt.NDArray[np.int64]

_PAD_TOKENS = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>")
# Rank of an output that is not pooled yet: texts, tokens, dimensions.
_UNPOOLED = 3
_ONLY_ERRORS = 3


class OnnxEncoder:
    """Pools the last hidden state as the model's directory says."""

    def __init__(self, directory: Path, graph: Path, recipe: Recipe) -> None:
        self.max_tokens = recipe.max_tokens
        self._pooling: Pooling = recipe.pooling
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._pad_id = _pad_id(self._tokenizer)
        # The file's own settings are its training's: padding each text to 128 tokens, cut there.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(recipe.max_tokens)
        self._session = _session(graph)
        self._inputs = {i.name for i in self._session.get_inputs()}
        self._output, self._pooled = _output(self._session)

    def count(self, text: str) -> int:
        """See `Encoder.count`."""
        return len(self._tokenizer.encode(text).ids)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """See `Encoder.encode`."""
        ids, mask = self._padded(texts)
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        fed = {name: given[name] for name in given if name in self._inputs}
        (output,) = self._session.run([self._output], fed)
        hidden: Matrix = np.asarray(output, dtype=np.float32)
        return hidden if self._pooled else _pool(hidden, mask, self._pooling)

    def _padded(self, texts: Sequence[str]) -> tuple[Integers, Integers]:
        tokens = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        longest = max(map(len, tokens))
        ids = np.full((len(tokens), longest), self._pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        return ids, mask


def _pool(hidden: Matrix, mask: Integers, pooling: Pooling) -> Matrix:
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask[:, :, None].astype(np.float32)
    total: Matrix = (hidden * weights).sum(axis=1)
    mean: Matrix = total / np.maximum(weights.sum(axis=1), np.float32(1e-9))
    return mean


def _pad_id(tokenizer: Tokenizer) -> int:
    """Before `no_padding`, which forgets it."""
    padding = tokenizer.padding
    if padding:
        return int(padding["pad_id"])
    found = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    return next((token for token in found if token is not None), 0)


def _session(graph: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Two threads on a busy machine are slower than one: they spin for each other.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena would keep the largest batch's memory for ever.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _ONLY_ERRORS
    try:
        return onnxruntime.InferenceSession(
            str(graph), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # onnxruntime's errors have no common class.
        raise ModelError(f"onnxruntime cannot load {graph.name}: {error}") from error


def _output(session: onnxruntime.InferenceSession) -> tuple[str, bool]:
    """The output's name, and whether it is pooled already."""
    outputs = session.get_outputs()
    for output in outputs:
        if len(output.shape) == _UNPOOLED:
            return output.name, False
    if not outputs:
        raise ModelError("the ONNX graph has no output")
    return outputs[0].name, True
