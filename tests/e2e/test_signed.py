"""Signed requests by the official SDK, curl's way and gRPC, on two instances of one Postgres."""

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import openai
import pytest
from typing_extensions import override

from ailb.openai.v1 import openai_service_pb2 as openai_pb
from ailb.v1 import api_key_service_pb2 as keys_pb
from ailb.v1 import model_service_pb2 as models_pb
from tests.support.command import Ailb
from tests.support.postgres import database_dsn, sql
from tests.support.signing import authorization
from tests.support.stack import Stack

ADMIN = "an-administrators-own-secret"
PATH = "/v1/chat/completions"
BODY = b'{"model": "demo",  "messages": [{"role": "user", "content": "hello \xc3\xa4"}]}'
MODELS = "/ailb.v1.ModelService/ListModels"


@pytest.fixture(scope="module")
def pair(postgres_server: str) -> Iterator[tuple[Stack, Stack]]:
    """Two instances, each with its Envoy."""
    sql(postgres_server, "CREATE DATABASE signed OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "signed")
    settings = {"require_api_key": True, "admin_api_key": ADMIN}
    with Stack(dsn, settings=settings) as one, Stack(dsn, settings=settings) as other:
        yield one, other
    sql(postgres_server, "DROP DATABASE signed WITH (FORCE)", role="postgres")


class Signer(httpx2.Auth):
    """Signs each try of an SDK."""

    requires_request_body = True

    def __init__(self, key_id: int, secret: str) -> None:
        self._key_id, self._secret = key_id, secret

    @override
    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        target = f"{request.method} {request.url.raw_path.decode()}"
        request.headers["authorization"] = authorization(
            self._key_id, self._secret, target, request.content
        )
        yield request


def made(stack: Stack, **fields: Any) -> tuple[int, str, str]:
    """The number, the secret and the signing secret of a new key."""
    reply = httpx2.post(
        f"{stack.rest}/admin/v1/keys",
        json={"name": "service", "require_signature": True, **fields},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["api_key"]["require_signature"] is fields.get("require_signature", True)
    return told["api_key"]["id"], told["secret"], told["signing_secret"]


def posted(stack: Stack, header: str, body: bytes = BODY, path: str = PATH) -> tuple[int, Any]:
    headers = {"authorization": header, "content-type": "application/json"}
    reply = httpx2.post(stack.rest + path, content=body, headers=headers, timeout=30)
    return reply.status_code, reply.json()


def test_the_sdk_signs(pair: tuple[Stack, Stack]) -> None:
    key_id, _, signing = made(pair[0])
    http = httpx2.Client(auth=Signer(key_id, signing))
    with openai.OpenAI(
        base_url=f"{pair[0].rest}/v1", api_key="unused", max_retries=0, http_client=http
    ) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        answer = client.chat.completions.create(model="demo", messages=messages)
        assert answer.choices[0].message.content
        stream = client.chat.completions.create(model="demo", messages=messages, stream=True)
        assert sum(1 for _ in stream) > 1
        assert client.completions.create(model="demo", prompt="x").choices


def test_a_replay_is_refused_on_every_instance(pair: tuple[Stack, Stack]) -> None:
    one, other = pair
    key_id, _, signing = made(one)
    header = authorization(key_id, signing, f"POST {PATH}", BODY)
    assert posted(one, header)[0] == 200
    for again in (one, other):
        status, told = posted(again, header)
        assert status == 401
        assert "used before" in told["error"]["message"]
    fresh = authorization(key_id, signing, f"POST {PATH}", BODY)
    assert posted(other, fresh)[0] == 200
    assert posted(one, fresh)[0] == 401


def test_what_was_tampered_with_is_refused(pair: tuple[Stack, Stack]) -> None:
    key_id, secret, signing = made(pair[0])
    for stack in pair:
        header = authorization(key_id, signing, f"POST {PATH}", BODY)
        assert posted(stack, header, BODY.replace(b"hello", b"hullo"))[0] == 401
        assert posted(stack, header, path=f"{PATH}?x=1")[0] == 401
        assert posted(stack, header, path="/v1/completions")[0] == 401
        # None of it used the signature up.
        assert posted(stack, header)[0] == 200
        # The secret is no signing secret, and opens nothing by itself.
        assert posted(stack, authorization(key_id, secret, f"POST {PATH}", BODY))[0] == 401
        for bearer in (secret, signing):
            status, told = posted(stack, f"Bearer {bearer}")
            assert status == 401
        status, told = posted(stack, f"Bearer {secret}")
        assert "must be signed" in told["error"]["message"]


def test_a_query_is_signed_too(pair: tuple[Stack, Stack]) -> None:
    key_id, _, signing = made(pair[0])
    body = json.dumps(
        {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    ).encode()
    path = "/v1/messages?beta=true"
    header = authorization(key_id, signing, f"POST {path}", body)
    assert posted(pair[0], header, body, path)[0] == 200


def test_other_paths_cannot_be_signed(pair: tuple[Stack, Stack]) -> None:
    key_id, _, signing = made(pair[0])
    for verb, path in (("GET", "/v1/models"), ("POST", "/v1/sessions:search")):
        body = b"" if verb == "GET" else b"{}"
        reply = httpx2.request(
            verb,
            pair[0].rest + path,
            content=body,
            headers={"authorization": authorization(key_id, signing, f"{verb} {path}", body)},
        )
        assert reply.status_code == 401
        assert "call the others by gRPC" in reply.json()["error"]["message"]


def call(stack: Stack, method: str, message: bytes, *metadata: tuple[str, str]) -> bytes:
    with grpc.insecure_channel(stack.grpc) as channel:
        ask: Any = channel.unary_unary(method)
        answer: bytes = ask(message, metadata=metadata, timeout=10)
        return answer


def code(stack: Stack, method: str, message: bytes, *metadata: tuple[str, str]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        call(stack, method, message, *metadata)
    found: grpc.StatusCode = refused.value.code()
    return found


def test_grpc_callers_sign_their_message(pair: tuple[Stack, Stack]) -> None:
    one, other = pair
    key_id, _, signing = made(one)
    message = models_pb.ListModelsRequest().SerializeToString()
    header = ("authorization", authorization(key_id, signing, MODELS, message))
    answer = models_pb.ListModelsResponse.FromString(call(one, MODELS, message, header))
    assert answer.data
    assert code(other, MODELS, message, header) is grpc.StatusCode.UNAUTHENTICATED
    header = ("authorization", authorization(key_id, signing, MODELS, b"other"))
    assert code(one, MODELS, message, header) is grpc.StatusCode.UNAUTHENTICATED


def test_a_signed_path_opens_no_other_method(pair: tuple[Stack, Stack]) -> None:
    """On the gRPC port anybody can say that a call came from a path."""
    one, _ = pair
    key_id, _, signing = made(one)
    fake = (("x-envoy-original-path", PATH), ("x-envoy-original-method", "POST"))
    header = ("authorization", authorization(key_id, signing, f"POST {PATH}", b""))
    assert code(one, MODELS, b"", header, *fake) is grpc.StatusCode.UNAUTHENTICATED
    # With the right method it says the same as by REST, so there is nothing to gain.
    message = openai_pb.CreateChatCompletionRequest()
    message.body.data = BODY
    header = ("authorization", authorization(key_id, signing, f"POST {PATH}", BODY))
    chat = "/ailb.openai.v1.OpenAIService/CreateChatCompletion"
    with grpc.insecure_channel(one.grpc) as channel:
        stream: Any = channel.unary_stream(chat)
        assert list(stream(message.SerializeToString(), metadata=(header, *fake), timeout=10))


def test_signing_is_free_where_it_is_not_required(pair: tuple[Stack, Stack]) -> None:
    key_id, secret, signing = made(pair[0], require_signature=False)
    assert posted(pair[0], f"Bearer {secret}")[0] == 200
    header = authorization(key_id, signing, f"POST {PATH}", BODY)
    assert posted(pair[0], header)[0] == 200


def test_a_rotation_shows_another(pair: tuple[Stack, Stack], tmp_path: Path) -> None:
    stack = pair[0]
    key_id, _, old = made(stack)
    environment = {"AILB_TARGET": stack.grpc, "AILB_API_KEY": ADMIN}

    def keys(*arguments: str) -> str:
        ailb = Ailb("keys", *arguments, directory=tmp_path, environment=environment)
        with ailb:
            assert ailb.ends() == 0, ailb.output
        return ailb.output

    told = keys("rotate", str(key_id), "--grace", "0")
    (new,) = re.findall("ailbs_[0-9a-f]{64}", told)
    assert "signing secret" in told
    assert posted(stack, authorization(key_id, old, f"POST {PATH}", BODY))[0] == 401
    assert posted(stack, authorization(key_id, new, f"POST {PATH}", BODY))[0] == 200
    keys("update", str(key_id), "--set", "signature=optional")
    assert posted(stack, authorization(key_id, new, f"POST {PATH}", BODY))[0] == 200
    request = keys_pb.GetApiKeyRequest(id=key_id).SerializeToString()
    shown = call(stack, "/ailb.v1.ApiKeyService/GetApiKey", request, ("x-api-key", ADMIN))
    assert new.encode() not in shown
