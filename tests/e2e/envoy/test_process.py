"""The embedded process: it starts where it is told, says why it cannot, and leaves nothing."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from ailb_server.local import envoy
from ailb_server.local.envoy import EmbeddedEnvoy, EnvoyError
from tests.e2e.envoy.conftest import free_port

# A user of EmbeddedEnvoy in a process of its own; says Envoy's pid and waits.
USER = """
import asyncio, sys
from ailb_server.local.envoy import EmbeddedEnvoy

async def main():
    envoy = EmbeddedEnvoy(host="127.0.0.1", port=int(sys.argv[1]), upstream_ports=(1,))
    await envoy.start()
    print(envoy.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def embedded(port: int, run_dir: Path | None = None, host: str = "127.0.0.1") -> EmbeddedEnvoy:
    return EmbeddedEnvoy(
        host=host, port=port, upstream_ports=(free_port(),), run_dir=run_dir, concurrency=1
    )


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status


async def test_it_runs_from_any_directory_and_stops(tmp_path: Path) -> None:
    run_dir = tmp_path / "with spaces, ümläute" / ("and long " * 15)
    envoy_ = embedded(free_port(), run_dir)
    await envoy_.validate()
    assert not envoy_.alive()
    await envoy_.start()
    assert envoy_.alive()
    assert envoy_.pid is not None
    assert os.getsid(envoy_.pid) != os.getsid(0)
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((run_dir / "admin.sock").stat().st_mode) == 0o600
    await envoy_.stop()
    await envoy_.stop()
    assert not envoy_.alive()
    assert envoy_.pid is None
    assert await envoy_.wait_dead() == 0
    await envoy_.start()
    assert envoy_.alive()
    await envoy_.stop()


async def test_it_is_idle_once_its_requests_have_ended() -> None:
    called = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()
        writer.close()

    upstream = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = free_port()
    envoy_ = EmbeddedEnvoy(
        host="127.0.0.1",
        port=port,
        upstream_ports=(upstream.sockets[0].getsockname()[1],),
        concurrency=1,
    )
    await envoy_.start()
    try:
        await asyncio.wait_for(envoy_.until_idle(60), 10)
        _, caller = await asyncio.open_connection("127.0.0.1", port)
        caller.write(b"GET /v1/models HTTP/1.1\r\nhost: ailb\r\n\r\n")
        await asyncio.wait_for(called.wait(), 10)
        waiting = asyncio.create_task(envoy_.until_idle(60))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        caller.close()
        await asyncio.wait_for(waiting, 10)
    finally:
        await envoy_.stop()
        upstream.close()


async def test_without_a_directory_it_leaves_none() -> None:
    envoy_ = embedded(free_port())
    await envoy_.start()
    directory = envoy_.log.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await envoy_.stop()
    assert not directory.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::"])  # noqa: S104
async def test_it_listens_on_wildcards_and_names(host: str) -> None:
    if host == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    port = free_port()
    envoy_ = embedded(port, host=host)
    await envoy_.start()
    try:
        assert await status(f"http://localhost:{port}/nope") == 404
        if host != "localhost":
            assert await status(f"http://127.0.0.1:{port}/nope") == 404
    finally:
        await envoy_.stop()


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EnvoyError, match=f"port {port} on 127.0.0.1 is taken"):
            await embedded(port).start()


async def test_a_second_envoy_does_not_share_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if both are started at the same moment, so that the look before finds it free."""
    port = free_port()
    first, second = embedded(port), embedded(port)
    await first.start()
    monkeypatch.setattr(envoy, "_require_free", lambda address: None)
    monkeypatch.setattr(second, "_until_it_listens", lambda address: second.wait_dead())
    await second.start()
    assert not second.alive()
    assert "Address already in use" in second.log.read_text()
    await first.stop()
    await second.stop()


@pytest.mark.parametrize(
    ("host", "said"),
    [("no-such-host.invalid", "is no address to listen on"), ("192.0.2.7", "cannot listen on")],
)
async def test_an_impossible_address_is_refused(host: str, said: str) -> None:
    with pytest.raises(EnvoyError, match=said):
        await embedded(free_port(), host=host).start()


async def test_a_broken_configuration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy, "render", lambda source, edge: "static_resources: {listeners: 7}")
    with pytest.raises(EnvoyError, match="listeners"):
        await embedded(free_port()).validate()
    with pytest.raises(EnvoyError, match="listeners"):
        await embedded(free_port()).start()


async def test_a_death_is_noticed(tmp_path: Path) -> None:
    envoy_ = embedded(free_port(), tmp_path)
    await envoy_.start()
    assert envoy_.pid is not None
    os.kill(envoy_.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        assert await envoy_.wait_dead() == -signal.SIGKILL
    assert not envoy_.alive()
    await envoy_.stop()


async def test_the_log_has_failures_and_no_secrets(tmp_path: Path) -> None:
    port = free_port()
    envoy_ = embedded(port, tmp_path)
    await envoy_.start()
    headers = {"authorization": "Bearer secret", "x-request-id": "mine"}
    url = f"http://127.0.0.1:{port}/v1/chat/completions?key=secret"
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(url, data=b"secret prompt") as response:
            assert response.status == 503
        async with http.get(f"http://127.0.0.1:{port}/nope") as response:
            assert response.status == 404
    await envoy_.stop()
    (line,) = (line for line in envoy_.log.read_text().splitlines() if line.startswith("{"))
    entry = json.loads(line)
    assert (entry["request_id"], entry["status"]) == ("mine", 503)
    assert entry["path"] == "/v1/chat/completions"
    assert "secret" not in line


async def test_waiting_for_what_was_not_started_is_an_error() -> None:
    with pytest.raises(EnvoyError):
        await embedded(free_port()).wait_dead()
    await embedded(free_port()).stop()


async def test_a_cancelled_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    envoy_ = embedded(free_port())
    begun = asyncio.Event()

    async def never(address: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(envoy_, "_until_it_listens", never)
    starting = asyncio.create_task(envoy_.start())
    await begun.wait()
    pid = envoy_.pid
    assert pid is not None
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until_gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_it_does_not_outlive_a_killed_user(tmp_path: Path) -> None:
    port = free_port()
    user = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", USER, str(port)),
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert user.stdout is not None
    pid = int(await asyncio.wait_for(user.stdout.readline(), 20))
    assert await status(f"http://127.0.0.1:{port}/nope") == 404
    user.kill()
    await user.wait()
    await until_gone(pid)
