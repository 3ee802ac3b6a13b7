"""A model is fetched once, from a hub on loopback, and what goes wrong there is told in words."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.embedding.link import LinkRules, WorkerLink
from ailb_server.embedding.loading import ModelSpec
from ailb_server.embedding.local import LocalEmbedder
from tests.support.embedding import Silent, until_ready
from tests.support.stack import free_port

COMMIT = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
MODEL = "some/model"
UNWANTED = ("model.safetensors", "README.md", "data_config.json.md")


@dataclass
class Hub:
    """The part of the hub's API that a fetch uses, over one model's directory."""

    directory: Path
    fetched: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/models/{tail:.*}", self._tree)
        app.router.add_get("/some/model/resolve/{commit}/{path:.*}", self._file)
        return app

    def _paths(self) -> Iterator[Path]:
        return (path for path in self.directory.rglob("*") if path.is_file())

    async def _tree(self, request: web.Request) -> web.Response:
        if request.match_info["tail"] != f"{MODEL}/tree/{COMMIT}":
            missing = {"X-Error-Code": "RepoNotFound"}
            return web.json_response({"error": "not found"}, status=404, headers=missing)
        return web.json_response(
            [
                {
                    "type": "file",
                    "path": path.relative_to(self.directory).as_posix(),
                    "size": path.stat().st_size,
                    "oid": hashlib.sha1(path.name.encode()).hexdigest(),  # noqa: S324
                }
                for path in self._paths()
            ]
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["path"]
        path = self.directory / name
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha1(name.encode()).hexdigest()}"',  # noqa: S324
        }
        if request.method == "GET":
            self.fetched.append(name)
        return web.Response(body=await asyncio.to_thread(path.read_bytes), headers=headers)


@asynccontextmanager
async def serving(hub: Hub, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(hub.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """The hub's, in the environment that the worker inherits."""
    port = free_port()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    # Loading a directory has set them in this process.
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    return port


def embedder(model: str = MODEL) -> LocalEmbedder:
    rules = LinkRules(longest_pause_s=0.5)
    return LocalEmbedder(WorkerLink(ModelSpec(model, COMMIT, "onnx"), rules), Silent())


async def problem_of(made: LocalEmbedder) -> str:
    """Why it does not work; waits until it says so, bounded."""
    async with asyncio.timeout(60):
        while made.health().works:  # noqa: ASYNC110 - the worker changes it
            await asyncio.sleep(0.005)
    return made.health().problem


async def test_a_model_is_fetched_once_and_shown_meanwhile(
    port: int, model_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    hub = Hub(model_directory)
    made = embedder()
    async with serving(hub, port):
        made.start()
        await until_ready(made)
        assert len(await made.embed(["a text"])) == 1
        await made.close()
    assert "onnx/model.onnx" in hub.fetched
    assert "1_Pooling/config.json" in hub.fetched
    assert set(hub.fetched).isdisjoint(UNWANTED)
    assert "downloading the model some/model: 100 %" in caplog.text
    # The hub is gone now, and not missed.
    again = embedder()
    again.start()
    await until_ready(again)
    assert again.space is not None
    assert again.space.model == MODEL
    await again.close()


async def test_a_model_that_the_hub_has_not(port: int, model_directory: Path) -> None:
    made = embedder("some/other")
    async with serving(Hub(model_directory), port):
        made.start()
        assert "the hub has no model some/other" in await problem_of(made)
        await made.close()


async def test_a_hub_that_comes_late(port: int, model_directory: Path) -> None:
    made = embedder()
    made.start()
    async with asyncio.timeout(60):
        while "downloading" not in made.health().problem:  # noqa: ASYNC110 - the worker changes it
            await asyncio.sleep(0.005)
    # Nobody waits for that.
    with pytest.raises(EmbedderUnavailableError, match="downloading"):
        await made.embed(["a text"])
    async with serving(Hub(model_directory), port):
        await until_ready(made)
        await made.close()


async def test_offline_says_so(
    port: int, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = embedder()
    hub = Hub(model_directory)
    async with serving(hub, port):
        made.start()
        assert "not in the cache" in await problem_of(made)
        await made.close()
    assert hub.fetched == []
