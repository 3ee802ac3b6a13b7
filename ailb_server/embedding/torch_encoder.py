"""A model by the package sentence-transformers: every architecture, at a larger price."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from ailb_server.embedding.encoder import Matrix
from ailb_server.embedding.model_files import ModelError

_CPU_FACTS = Path("/proc/cpuinfo")
# With either, bfloat16 is half the work; without, it is emulated and slower than float32.
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})


class TorchEncoder:
    """On one thread; in bfloat16 where the CPU computes in it."""

    def __init__(self, directory: Path) -> None:
        torch.set_num_threads(1)
        try:
            self._model = SentenceTransformer(
                str(directory), device="cpu", local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"sentence-transformers cannot load the model: {error}") from error
        self._model.eval()
        if has_bfloat16(_CPU_FACTS):
            self._model.bfloat16()
        self.max_tokens = int(self._model.max_seq_length or 512)

    def count(self, text: str) -> int:
        """See `Encoder.count`."""
        cut = self._model.tokenizer(text, truncation=True, max_length=self.max_tokens)
        return len(cut["input_ids"])

    def encode(self, texts: Sequence[str]) -> Matrix:
        """See `Encoder.encode`."""
        rows = self._model.encode(
            list(texts), batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(rows, dtype=np.float32)


def has_bfloat16(cpu_facts: Path) -> bool:
    """Whether Linux tells of a CPU that computes in bfloat16."""
    if not cpu_facts.is_file():
        return False
    lines = cpu_facts.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _BFLOAT16.isdisjoint(flags.split())
