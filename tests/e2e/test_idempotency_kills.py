"""Idempotency-Keys where an instance is killed, and where Postgres is."""

import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import openai
import pytest

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tests.support.command import Ailb
from tests.support.killable_postgres import SeparateServer
from tests.support.stack import Stack, eventually, free_port

KEY = "order-1"
# Longer than a lease, which its instance therefore renews.
SLOW_MS = 3000
LEASE_S = 1


def call(address: str) -> Any:
    """The answer, or the code of the refusal."""
    message = chat_pb2.Message(
        role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="who dies")]
    )
    parameters = chat_pb2.ChatCompletionParameters(model="demo", messages=[message])
    parameters.additional_parameters.update({"demo": {"latency_ms": SLOW_MS}})
    request = chat_service_pb2.CreateChatCompletionRequest(parameters=parameters)
    with grpc.insecure_channel(address) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        try:
            return stub.CreateChatCompletion(
                request, metadata=(("idempotency-key", KEY),), timeout=20
            )
        except grpc.RpcError as error:
            refused: Any = error
            return refused.code()


@pytest.mark.timeout(180)
def test_a_killed_instance_leaves_its_keys_to_others(postgres_dsn: str, tmp_path: Path) -> None:
    settings = {"idempotency_lease_s": LEASE_S, "first_token_timeout_s": 8}
    with Stack(postgres_dsn, settings=settings) as stack:

        def asked() -> int:
            return sum(b"who dies" in received.body for received in stack.upstream.received)

        port = free_port()
        environment = {
            "DATABASE_URL": postgres_dsn,
            "GRPC_PORT": port,
            "MODULE_ID": "doomed",
            "OPENAI_BASE_URL": stack.upstream.url,
            "OPENAI_API_KEY": "sk-test",
            "REQUIRE_API_KEY": "false",
            "IDEMPOTENCY_LEASE_S": LEASE_S,
        }
        with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
            ailb.until("serves on")
            doomed = threading.Thread(target=call, args=(f"127.0.0.1:{port}",))
            doomed.start()
            eventually(lambda: asked() == 1)
            doomed.join(1.5 * LEASE_S)
            assert doomed.is_alive()
            assert call(stack.grpc) is grpc.StatusCode.ABORTED
            ailb.interrupt(signal.SIGKILL)
            doomed.join()
        answers: list[Any] = []

        def answered() -> bool:
            answers.append(call(stack.grpc))
            return answers[-1] is not grpc.StatusCode.ABORTED

        eventually(answered, 20)
        assert answers[-1].completion.choices
        assert call(stack.grpc) == answers[-1]
        assert asked() == 2


@pytest.mark.timeout(180)
def test_without_its_store_it_promises_nothing(tmp_path: Path) -> None:
    server = SeparateServer(tmp_path)
    try:
        with (
            Stack(server.dsn) as stack,
            openai.OpenAI(base_url=f"{stack.rest}/v1", api_key="x", max_retries=0) as client,
        ):
            chat: Any = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
            once = {"idempotency-key": KEY}
            first = client.chat.completions.create(**chat, extra_headers=once)
            server.kill()
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(**chat, extra_headers=once)
            assert refused.value.status_code == 503
            assert refused.value.code == "storage_unavailable"
            assert client.chat.completions.create(**chat).choices
            server.start()

            def back() -> bool:
                try:
                    again = client.chat.completions.create(**chat, extra_headers=once)
                except openai.InternalServerError:
                    return False
                return bool(again == first)

            eventually(back, 30)
    finally:
        server.stop()
