"""What callers do to a town: every field and face, well and badly, with marks in all of them."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import grpc

from ailb.v1 import (
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    chat_pb2,
    chat_service_pb2,
    chat_service_pb2_grpc,
    knowledge_service_pb2,
    knowledge_service_pb2_grpc,
    memory_service_pb2,
    memory_service_pb2_grpc,
)
from tests.e2e.canary.hostile import CREDENTIAL_FAULTS, FAULTS
from tests.e2e.canary.town import KINDS, Town
from tests.support.postgres import sql

CHAT = "/v1/chat/completions"


class Visitors:
    """Keys of every kind; `user` is one that may do what users may."""

    def __init__(self, town: Town, server: str) -> None:
        self.town, self._server = town, server
        self._number = 0
        self.admin = town.marks.secret["admin"]
        self.user = self.make("user")
        self.keys = {
            "none": None,
            "wrong": town.marks.hide("wrong"),
            "likeours": f"ailb_{town.marks.hide('likeours')}",
            "revoked": self.make("revoked"),
            "expired": self.make("expired"),
            "module": self.make("module", role="KEY_ROLE_MODULE"),
        }
        by_name = {key["metadata"]["kind"]: key["id"] for key in self._listed()}
        town.call("POST", f"/admin/v1/keys/{by_name['revoked']}:revoke", {}, self.admin)
        past = "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = "
        sql(server, f"{past}{by_name['expired']}")
        self._rotate(by_name["user"])

    def make(self, kind: str, **fields: Any) -> str:
        """A key. Its secret is in this answer by design, so nobody keeps that."""
        say = self.town.marks.say
        body = {"name": say(f"keyname{kind}"), "metadata": {"kind": kind, "n": say(f"note{kind}")}}
        return self._secret(kind, "/admin/v1/keys", {**body, **fields})

    def _rotate(self, key_id: int) -> None:
        self.user = self._secret("rotated", f"/admin/v1/keys/{key_id}:rotate", {})

    def _secret(self, name: str, path: str, body: object) -> str:
        status, told = self.town.call("POST", path, body, self.admin)
        self.town.answers.pop()
        assert status == 200, told
        secret: str = json.loads(told)["secret"]
        # Its beginning is shown to people on purpose.
        self.town.marks.secret[f"key{name}"] = secret[-24:]
        return secret

    def _listed(self) -> list[Any]:
        _, told = self.town.call("GET", "/admin/v1/keys", key=self.admin)
        keys: list[Any] = json.loads(told)["api_keys"]
        return keys

    def all(self) -> None:
        """Everything there is."""
        self.strangers()
        self.faults()
        self.bad_requests()
        self.documents()
        self.conversations()
        self.over_grpc()

    def strangers(self) -> None:
        """Every kind of key that is none, in every place that a key may have."""
        hide = self.town.marks.hide
        basic = base64.b64encode(f"me:{hide('basic')}".encode()).decode()
        self.town.marks.secret["basicwhole"] = basic
        for key in self.keys.values():
            self.town.call("POST", CHAT, self.chat("oa-x-ok"), key)
            self.town.call("GET", "/admin/v1/keys", key=key)
            if key is not None:
                for path in (CHAT, "/v1/messages"):
                    self.town.call("POST", path, self.chat("oa-x-ok"), x_api_key=key)
                self.town.call("GET", f"/v1/models?api_key={key}&key={hide('query')}")
        self.town.call("GET", "/v1/models", authorization=f"Basic {basic}")
        self.town.call(
            "POST", CHAT, self.chat("oa-x-ok"), self.user,
            cookie=f"s={hide('cookie')}", proxy_authorization=f"Basic {hide('proxy')}",
            x_amz_security_token=hide("foreign"), openai_organization=hide("organization"),
            referer=f"https://x.test/?token={hide('referer')}",
        )  # fmt: skip

    def faults(self) -> None:
        """Each fault of each provider, over each face that can meet it."""
        for short in KINDS.values():
            models = [f"{short}-x-{fault}" for fault in FAULTS]
            models += [f"{short}-bad-x-{fault}" for fault in CREDENTIAL_FAULTS]
            for model in models:
                for path, body in self._asked(model):
                    self.town.call("POST", path, body, self.user)
        self.town.call("POST", CHAT, self.chat("env-x-422"), self.user)

    def _asked(self, model: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for stream in (False, True):
            yield CHAT, self.chat(model, stream=stream)
            yield "/v1/messages", self.chat(model, stream=stream)
        yield "/v1/completions", {"model": model, "prompt": self.say("completion")}
        yield "/v1/embeddings", {"model": model, "input": [self.say("embedding")]}
        if model.startswith("an"):
            yield "/v1/messages/count_tokens", self.chat(model)

    def bad_requests(self) -> None:
        """What is no request, or is for what is not there."""
        say = self.say
        bodies: list[object] = [
            f'{{"model": "oa-x-ok", "messages": [{{"role": "{say("torn")}'.encode(),
            f'{{"{say("name")}": 1}}'.encode(),
            say("bare").encode() + b"\xff\xfe",
            [say("list")],
            {"model": say("model"), "messages": [{"role": "user", "content": say("prompt")}]},
            {"model": "oa-x-ok", "messages": [{"role": say("role"), "content": say("prompt")}]},
            {"model": "oa-x-ok", "messages": say("messages")},
            {"model": "oa-x-ok", "messages": [{"role": "user", "content": {"x": say("content")}}]},
            {**self.chat("oa-x-ok"), "temperature": say("temperature")},
            {**self.chat("oa-x-ok"), "session_id": {"x": say("sessionfield")}},
            {**self.chat("oa-x-ok"), "session_id": "\n" + say("sessionbad")},
            {**self.chat("oa-x-ok"), "rag_collection": say("collectionmissing")},
            {**self.chat("oa-x-ok"), "rag_filter": {say("filter"): [[]]}, "rag_collection": "c"},
        ]
        for body in bodies:
            for path in (CHAT, "/v1/messages", "/v1/completions", "/v1/embeddings"):
                self.town.call("POST", path, body, self.user)
        long = json.dumps(self.chat("oa-x-ok", say("long") * 2_000_000)).encode()
        self.town.call("POST", CHAT, long, self.user)
        for path in (
            f"/v1/models/{say('path')}",
            f"/v1/{say('nopath')}",
            f"/v1/sessions/{say('gone')}",
            f"/v1/sessions?page_token={say('token')}",
            f"/admin/v1/audit?outcome={say('outcome')}",
            f"/admin/v1/usage?group_by={say('group')}",
        ):
            for key in (self.user, self.admin):
                self.town.call("GET", path, key=key)
        for name in ("key\n" + say("keyline"), say("keylong") * 9, ""):
            self.town.call("POST", "/admin/v1/keys", {"name": name}, self.admin)

    def documents(self) -> None:
        """Imports, whose embedder refuses them and quotes what they say."""
        say = self.say
        name = say("collection")
        self.town.call(
            "POST", "/v1/collections", {"name": name, "description": say("about")}, self.user
        )
        page = base64.b64encode(f"<title>{say('html')}</title>".encode()).decode()
        documents = [
            {"id": say("document"), "title": say("title"), "source": say("source"),
             "metadata": {say("metakey"): say("metavalue")}, "text": say("text")},
            {"id": "b.html", "content": page},
            {"id": "c.pdf", "content": base64.b64encode(say("pdf").encode()).decode()},
            {"id": "", "text": say("nameless")},
        ]  # fmt: skip
        path = f"/v1/collections/{name}/documents"
        for part in (documents[:3], documents[3:], [{"id": 5, "text": say("badid")}]):
            self.town.call("POST", path, {"documents": part}, self.user)
        self.town.call("POST", path, f'{{"documents": [{say("tornimport")}'.encode(), self.user)
        for _ in range(20):
            time.sleep(0.1)
            self.town.call("GET", path, key=self.user)
        self.town.call(
            "POST", f"/v1/collections/{name}/search", {"query": say("search")}, self.user
        )
        self.town.call("POST", CHAT, {**self.chat("oa-x-ok"), "rag_collection": name}, self.user)

    def conversations(self) -> None:
        """Sessions, whose embedder refuses too."""
        for fault in ("ok", "late-cut", "400", "500"):
            for stream in (False, True):
                chat = {
                    **self.chat(f"oa-x-{fault}", stream=stream),
                    "session_id": self.say("session"),
                }
                self.town.call("POST", CHAT, chat, self.user)
                self.town.call("POST", CHAT, chat, self.user)
        self.town.call("POST", "/v1/sessions:search", {"query": self.say("searched")}, self.user)
        header = self.say("sessionheader")
        self.town.call("POST", CHAT, self.chat("oa-x-ok"), self.user, x_session_id=header)
        retry = self.town.marks.hide("idempotency")
        for _ in range(2):
            self.town.call("POST", CHAT, self.chat("oa-x-ok"), self.user, idempotency_key=retry)

    def over_grpc(self) -> None:
        """The typed face of each instance."""
        for target in self.town.grpc:
            with grpc.insecure_channel(target) as channel:
                for key in (*self.keys.values(), self.user):
                    self._typed(channel, key)

    def _typed(self, channel: grpc.Channel, key: str | None) -> None:
        hide, say = self.town.marks.hide, self.say
        metadata = [("x-tracing-token", hide("metadata")), ("trace-bin", hide("binary").encode())]
        if key is not None:
            metadata.append(("authorization", f"Bearer {key}"))
        chats = chat_service_pb2_grpc.ChatServiceStub(channel)
        for model in ("oa-x-400", "an-x-late-error", "ol-x-500", say("model")):
            part = chat_pb2.ContentPart(text=say("typed"))
            parameters = chat_pb2.ChatCompletionParameters(
                model=model, user=say("user"),
                messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[part])],
            )  # fmt: skip
            whole = chat_service_pb2.CreateChatCompletionRequest(parameters=parameters)
            self._try(chats.CreateChatCompletion, whole, metadata)
            stream = chat_service_pb2.StreamChatCompletionRequest(parameters=parameters)
            self._try(lambda r, **o: list(chats.StreamChatCompletion(r, **o)), stream, metadata)
        keys = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
        self._try(keys.GetApiKey, api_key_service_pb2.GetApiKeyRequest(id=99999), metadata)
        knowledge = knowledge_service_pb2_grpc.KnowledgeServiceStub(channel)
        missing = knowledge_service_pb2.GetCollectionRequest(collection=say("collectiongone"))
        self._try(knowledge.GetCollection, missing, metadata)
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        gone = memory_service_pb2.GetSessionRequest(session_id=say("sessiongone"))
        self._try(memory.GetSession, gone, metadata)
        junk: Any = channel.unary_unary("/ailb.v1.ChatService/CreateChatCompletion")
        self._try(junk, b"\xff" + say("junk").encode(), metadata)

    def _try(self, method: Any, request: Any, metadata: Any) -> None:
        try:
            method(request, metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            told: Any = error
            self.town.answers.append(f"{told.details()} {told.trailing_metadata()}")

    def chat(self, model: str, prompt: str = "", **fields: Any) -> dict[str, Any]:
        """A chat with a mark wherever a text may be; also one of Anthropic's format."""
        say = self.say
        schema = {"type": "object", "properties": {say("property"): {"type": "string"}}}
        function = {"name": "f" + say("tool"), "description": say("tooltext"), "parameters": schema}
        return {
            "model": model,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": prompt or say("prompt")}],
            "tools": [{"type": "function", "function": function, **_anthropic(function)}],
            "user": say("user"),
            "metadata": {"user_id": say("metadata")},
            **fields,
        }

    def say(self, name: str) -> str:
        """Few marks of a name, for there are thousands of requests."""
        self._number += 1
        known = f"{name}{self._number % 3}"
        return self.town.marks.said.get(known) or self.town.marks.say(known)


def _anthropic(function: dict[str, Any]) -> dict[str, Any]:
    return {"name": function["name"], "input_schema": function["parameters"]}
