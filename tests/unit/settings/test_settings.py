"""The configuration as an operator writes it: environment, `.env`, YAML, and their faults."""

from pathlib import Path

import pytest

from ailb_server.domain.target import Price
from ailb_server.settings import SettingsError, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, no `.env` of the checkout."""
    for vendor in ("OPENAI", "ANTHROPIC", "OLLAMA"):
        for name in ("API_KEY", "BASE_URL", "MODELS"):
            monkeypatch.delenv(f"{vendor}_{name}", raising=False)
    for name in ("OLLAMA_NUM_CTX", "AILB_CONFIG", "HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def faults(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load()
    return list(refused.value.faults)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_set_means_the_defaults() -> None:
    configuration = load()
    settings = configuration.settings
    assert (settings.host, settings.http_port, settings.grpc_port) == ("127.0.0.1", 8080, 50051)
    assert (settings.module_id, settings.routing_strategy) == ("ailb-1", "load_balanced")
    assert configuration.providers == ()


def test_the_environment_names_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_MODELS", " gpt-4o , gpt-4o-mini,")
    (provider,) = load().providers
    assert provider.name == "openai"
    assert provider.models == ("gpt-4o", "gpt-4o-mini")
    assert str(provider.base_url) == "https://api.openai.com/v1"
    assert "sk-x" not in repr(provider)


def test_the_environment_names_anthropic_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    monkeypatch.setenv("ANTHROPIC_MODELS", "claude-a,claude-b")
    configuration = load()
    assert [(p.name, p.kind) for p in configuration.providers] == [
        ("openai", "openai"),
        ("anthropic", "anthropic"),
    ]
    provider = configuration.providers[1]
    assert str(provider.base_url) == "https://api.anthropic.com/"
    assert provider.models == ("claude-a", "claude-b")


def test_a_base_url_alone_is_a_provider_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    (provider,) = load().providers
    assert provider.api_key is None


def test_an_ollama_is_a_provider_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://localhost:11434")
    monkeypatch.setenv("OLLAMA_MODELS", "llama3.2:3b, qwen3:8b")
    configuration = load()
    (provider,) = configuration.providers
    assert (provider.name, provider.kind) == ("ollama", "ollama")
    assert provider.models == ("llama3.2:3b", "qwen3:8b")
    assert configuration.settings.ollama_num_ctx == 8192


@pytest.mark.parametrize("path", ["/var/lib/ollama/models", "~/models", "./m", "D:\\models"])
def test_ollamas_own_directory_names_no_models(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://localhost:11434")
    monkeypatch.setenv("OLLAMA_MODELS", path)
    (provider,) = load().providers
    assert provider.models == ()


def test_dotenv_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / ".env", "HTTP_PORT=9000\nGRPC_PORT=9001\n")
    monkeypatch.setenv("HTTP_PORT", "9100")
    settings = load().settings
    assert (settings.http_port, settings.grpc_port) == (9100, 9001)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("METRICS_PORT", "")
    configuration = load()
    assert configuration.providers == ()
    assert configuration.settings.metrics_port is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HTTP_PORT", "eighty", "integer"),
        ("HTTP_PORT", "70000", "65535"),
        ("ROUTING_STRATEGY", "best", "load_balanced"),
        ("MEMORY_BACKEND", "chromadb", "pgvector"),
        ("RAG_BACKEND", "chromadb", "pgvector"),
        ("ENABLE_RAG", "true", "false"),
        ("OPENAI_BASE_URL", "localhost", "URL"),
        ("DATABASE_URL", "mysql://me:hunter2@h/x", "postgresql://"),
        ("MODULE_ID", "a b", "pattern"),
        ("TOTAL_TIMEOUT_S", "0", "greater"),
        ("OLLAMA_BASE_URL", "http://localhost:11434/v1", "without /v1"),
        ("OLLAMA_NUM_CTX", "0", "greater"),
    ],
)
def test_a_bad_value_is_one_line_with_the_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    (line,) = faults(monkeypatch, **{name: value})
    assert line.startswith(f"{name}: ")
    assert says in line
    assert "hunter2" not in line


def test_every_fault_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = faults(monkeypatch, HTTP_PORT="x", GRPC_PORT="y", RAG_BACKEND="z")
    assert len(lines) == 3


def test_ports_must_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = faults(monkeypatch, GRPC_PORT="8080")
    assert "GRPC_PORT" in line


def test_the_file_says_what_an_environment_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "ailb.yaml",
        """
        providers:
          - name: vllm
            base_url: http://10.0.0.1:8000/v1
            models: [llama]
            weight: 3
            api_key_env: VLLM_KEY
            prices: {llama: {prompt: 0.15, completion: 0.6, cached: 0.075}}
        aliases: {smart: [vllm/llama, gpt-4o]}
        """,
    )
    monkeypatch.setenv("AILB_CONFIG", str(path))
    monkeypatch.setenv("VLLM_KEY", "secret")
    configuration = load()
    (provider,) = configuration.providers
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == "secret"
    assert provider.prices["llama"].price() == Price(150_000, 600_000, 75_000)
    assert configuration.aliases == {"smart": ("vllm/llama", "gpt-4o")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("providers: [", "line"),
        ("providers: [{name: a}]", "providers.0.base_url"),
        ("providers: [{name: a, base_url: http://x/v1, kind: soap}]", "providers.0.kind"),
        ("providers: [{name: A B, base_url: http://x/v1}]", "providers.0.name"),
        ("surprise: 1", "surprise"),
        ("providers: [{name: a, base_url: http://x/v1, api_key: hunter2}]", "api_key_env"),
        (
            "providers: [{name: a, base_url: http://x/v1}, {name: a, base_url: http://y/v1}]",
            "the name a is taken twice",
        ),
        ("providers: [{name: a, base_url: http://x/v1, api_key_env: NO_SUCH_KEY}]", "NO_SUCH_KEY"),
        (
            "providers: [{name: a, base_url: http://x/v1,"
            " prices: {m: {prompt: 1000000, completion: 1}}}]",
            "10000",
        ),
    ],
)
def test_a_bad_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, says: str
) -> None:
    (line,) = faults(monkeypatch, AILB_CONFIG=str(write(tmp_path / "a.yaml", text)))
    assert says in line
    assert "hunter2" not in line


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (line,) = faults(monkeypatch, AILB_CONFIG=str(tmp_path / "none.yaml"))
    assert line.startswith("AILB_CONFIG: ")
