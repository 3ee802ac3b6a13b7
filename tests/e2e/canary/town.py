"""Two instances behind one Envoy, whose providers are hostile; one tells all that it can."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from ailb_server.local.envoy import EmbeddedEnvoy
from tests.e2e.canary.hostile import CREDENTIAL_FAULTS, FAULTS, Hostile
from tests.e2e.canary.marks import Marks
from tests.support.command import Ailb
from tests.support.loop_thread import LoopThread
from tests.support.stack import free_port

# A provider of each format, and one of each whose credential is refused.
KINDS = {"openai": "oa", "anthropic": "an", "ollama": "ol"}
LEVELS = ("info", "debug")


class Town:
    """`answers` is all that callers were told, status and headers included."""

    def __init__(self, dsn: str, marks: Marks, directory: Path) -> None:
        self.marks, self.dsn, self.directory = marks, dsn, directory
        self.loop, self.hostile = LoopThread(), Hostile()
        self.answers: list[str] = []
        self.instances: list[Ailb] = []
        self.grpc: list[str] = []
        self.metrics: list[str] = []
        self.journals = directory / "journals"
        self._stack = ExitStack()
        self._stack.callback(self.loop.stop)
        self.environment: dict[str, object] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def call(
        self, verb: str, path: str, body: object = None, key: str | None = None, **headers: str
    ) -> tuple[int, str]:
        """Over REST. `body` is JSON, or bytes as they are; `_` in a header's name is `-`."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.rest + path, data, method=verb)  # noqa: S310
        request.add_header("content-type", "application/json")
        if key is not None:
            request.add_header("authorization", f"Bearer {key}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return self._told(answer.status, answer)
        except urllib.error.HTTPError as error:
            return self._told(error.code, error)
        except (OSError, urllib.error.URLError) as error:
            # An answer that breaks off.
            self.answers.append(f"{verb} {path}: {error}")
            return 0, ""

    def _told(self, status: int, answer: Any) -> tuple[int, str]:
        try:
            text = answer.read().decode(errors="replace")
        except OSError as error:
            text = f"broke off: {error}"
        self.answers.append(f"{status} {answer.headers}\n{text}")
        return status, text

    def _start(self) -> None:
        self.loop.run(self.hostile.start())
        self._stack.callback(lambda: self.loop.run(self.hostile.stop()))
        self.environment = self._environment()
        for level in LEVELS:
            self._start_one(level)
        http = free_port()
        ports = [int(target.rpartition(":")[2]) for target in self.grpc]
        self.envoy = EmbeddedEnvoy(
            host="127.0.0.1", port=http, upstream_ports=ports, run_dir=self.directory / "envoy"
        )
        self.loop.run(self.envoy.start())
        self._stack.callback(lambda: self.loop.run(self.envoy.stop()))
        self.rest = f"http://127.0.0.1:{http}"

    def _start_one(self, level: str) -> None:
        grpc, metrics = free_port(), free_port()
        own = {
            "GRPC_PORT": grpc,
            "METRICS_PORT": metrics,
            "MODULE_ID": f"town-{level}",
            "LOG_LEVEL": level,
            "LOG_FORMAT": "json" if level == "info" else "text",
        }
        instance = Ailb("serve", directory=self.directory, environment={**self.environment, **own})
        self.instances.append(self._stack.enter_context(instance))
        instance.until(" serves on ")
        self.grpc.append(f"127.0.0.1:{grpc}")
        self.metrics.append(f"http://127.0.0.1:{metrics}/metrics")

    def _environment(self) -> dict[str, object]:
        hide = self.marks.hide
        providers: list[dict[str, object]] = []
        environment: dict[str, object] = {
            "ADMIN_API_KEY": hide("admin"),
            "KEY_PEPPER": hide("pepper"),
            "DATABASE_URL": self.dsn,
            "AILB_CONFIG": self.directory / "ailb.yaml",
            "AILB_DATA_DIR": self.directory / "data",
            "USAGE_JOURNAL_DIR": self.journals,
            "LIST_PRICES": "false",
            "RATE_LIMIT_WAIT_S": 0,
            # The SDKs' own switches, as somebody may have set them.
            "OPENAI_LOG": "debug",
            "ANTHROPIC_LOG": "debug",
            "EMBEDDING_BACKEND": "provider",
            "EMBEDDING_MODEL": "oa/oa-x-400",
            "OPENAI_API_KEY": hide("fromenvironment"),
            "OPENAI_BASE_URL": f"{self.hostile.url}/v1?api-key={hide('baseurlquery')}",
            "OPENAI_MODELS": "env-x-422",
        }
        for kind, short in KINDS.items():
            for name, faults in ((short, FAULTS), (f"{short}-bad", CREDENTIAL_FAULTS)):
                provider = self._provider(kind, name, faults)
                variable = str(provider["api_key_env"])
                environment[variable] = hide(f"provider{name.replace('-', '')}")
                providers.append(provider)
        text = yaml.safe_dump({"providers": providers})
        (self.directory / "ailb.yaml").write_text(text, encoding="utf-8")
        return environment

    def _provider(self, kind: str, name: str, faults: Sequence[str]) -> dict[str, object]:
        hide, plain = self.marks.hide, name.replace("-", "")
        return {
            "name": name,
            "kind": kind,
            "base_url": self.hostile.url + ("" if kind == "ollama" else "/v1"),
            "api_key_env": f"CANARY_{name.upper().replace('-', '_')}",
            "headers": {
                "x-gateway-token": hide(f"header{plain}"),
                "cookie": f"session={hide(f'cookie{plain}')}",
            },
            "models": [f"{name}-x-{fault}" for fault in faults],
        }
