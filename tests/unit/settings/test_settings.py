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
    for name in ("OLLAMA_NUM_CTX", "AILB_CONFIG", "HOST", "VLLM_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def faults(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load()
    return list(refused.value.faults)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_set_means_the_defaults() -> None:
    configuration = load()
    settings = configuration.settings
    assert (settings.host, settings.http_port, settings.grpc_port) == ("127.0.0.1", 8080, 50051)
    assert (settings.module_id, settings.routing_strategy) == ("ailb-1", "load_balanced")
    assert configuration.providers == ()


@pytest.mark.parametrize("told", ["free", "-1", "1.5", "nan", "99999999999"])
def test_an_unknown_price_that_is_none_is_one_line_for_people(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("UNKNOWN_PRICE", told)
    with pytest.raises(SettingsError) as refused:
        load()
    [fault] = [line for line in refused.value.faults if "PRICE" in line]
    assert fault.startswith("UNKNOWN_PRICE: must be allow, deny, or a whole number")
    assert told not in fault


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
        ("ENABLE_RAG", "maybe", "boolean"),
        ("EMBEDDING_BACKEND", "cloud", "local"),
        ("OPENAI_BASE_URL", "localhost", "URL"),
        ("OPENAI_BASE_URL", "http://me:hunter2@x/v1", "credential"),
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


def test_the_pool_must_hold_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else our own full pool would look like a provider that does not answer."""
    (line,) = faults(monkeypatch, UPSTREAM_POOL_SIZE="10")
    assert "UPSTREAM_POOL_SIZE" in line
    assert "MAX_CONCURRENT_REQUESTS" in line
    monkeypatch.setenv("MAX_CONCURRENT_REQUESTS", "10")
    assert load().settings.upstream_pool_size == 10
    (line,) = faults(monkeypatch, MAX_CONCURRENT_REQUESTS="2000", UPSTREAM_POOL_SIZE="1999")
    assert "UPSTREAM_POOL_SIZE" in line


def test_every_contradiction_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = faults(monkeypatch, GRPC_PORT="8080", UPSTREAM_POOL_SIZE="1", CONNECT_TIMEOUT_S="601")
    assert [line.partition(":")[0] for line in lines] == [
        "CONNECT_TIMEOUT_S",
        "UPSTREAM_POOL_SIZE",
        "HTTP_PORT, GRPC_PORT, METRICS_PORT",
    ]


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "VLLM_KEY"])
@pytest.mark.parametrize("value", ["hunter2\u2019", "hunter\n2", "hunt\x7fer2", "hun\u00a0ter2"])
def test_a_key_that_cannot_be_sent_is_refused_unquoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    keyed = "providers: [{name: a, base_url: http://x/v1, api_key_env: VLLM_KEY}]"
    file = write(tmp_path / "a.yaml", keyed)
    told = {"VLLM_KEY": "sk-x", name: value}
    assert faults(monkeypatch, AILB_CONFIG=str(file), **told) == [
        f"{name}: must be printable ASCII"
    ]


def test_the_whitespace_around_a_secret_is_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is mounted as a secret ends with a newline."""
    keyed = (
        "providers: [{name: a, base_url: http://x/v1, api_key_env: VLLM_KEY,"
        " headers: {x-team: ' search '}}]"
    )
    monkeypatch.setenv("AILB_CONFIG", str(write(tmp_path / "a.yaml", keyed)))
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "VLLM_KEY"):
        monkeypatch.setenv(name, " sk-x\r\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/x\n")
    configuration = load()
    keys = [p.api_key.get_secret_value() for p in configuration.providers if p.api_key]
    assert keys == ["sk-x"] * 3
    assert configuration.providers[2].headers == {"x-team": "search"}
    url = configuration.settings.database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://h/x"


def test_a_secret_of_whitespace_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "\n")
    monkeypatch.setenv("DATABASE_URL", " ")
    configuration = load()
    assert configuration.providers == ()
    assert configuration.settings.database_url is None
    keyed = "providers: [{name: a, base_url: http://x/v1, api_key_env: VLLM_KEY}]"
    file = write(tmp_path / "a.yaml", keyed)
    (line,) = faults(monkeypatch, AILB_CONFIG=str(file), VLLM_KEY="\n")
    assert line == "VLLM_KEY: the provider a needs it"


def test_an_empty_variable_leaves_its_place_to_dotenv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyed = "providers: [{name: a, base_url: http://x/v1, api_key_env: VLLM_KEY}]"
    path = write(tmp_path / "a.yaml", keyed)
    write(tmp_path / ".env", f"AILB_CONFIG={path}\nVLLM_KEY=sk-x\n")
    monkeypatch.setenv("AILB_CONFIG", "")
    monkeypatch.setenv("VLLM_KEY", "")
    (provider,) = load().providers
    assert provider.api_key is not None


def test_dotenv_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("MODULE_ID=hunter2-\u00fc\n".encode("latin-1"))
    with pytest.raises(SettingsError) as refused:
        load()
    assert refused.value.faults == (".env: is not UTF-8 text",)


def test_dotenv_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=9000\nMODULE_ID=m\n", encoding="utf-8-sig")
    settings = load().settings
    assert (settings.http_port, settings.module_id) == (9000, "m")


def test_faults_of_the_environment_and_of_the_file_are_told_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = """
        providers:
          - {name: a, base_url: http://x/v1, api_key_env: NO_SUCH_KEY}
          - {name: b, base_url: http://x/v1, api_key_env: NOR_THIS}
          - {name: b, base_url: http://x/v1}
    """
    path = write(tmp_path / "ailb.yaml", file)
    lines = faults(monkeypatch, HTTP_PORT="x", AILB_CONFIG=str(path))
    assert [line.partition(":")[0] for line in lines] == ["HTTP_PORT", "NO_SUCH_KEY", "NOR_THIS"]
    bad = write(tmp_path / "bad.yaml", "surprise: 1")
    lines = faults(monkeypatch, HTTP_PORT="x", AILB_CONFIG=str(bad))
    assert [line.partition(":")[0] for line in lines] == ["HTTP_PORT", str(bad)]


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
        ("providers: [{name: a, base_url: http://me:hunter2@x/v1}]", "credential"),
        ("[providers, aliases]", "must be a mapping, with providers and aliases"),
        ("providers", "must be a mapping, with providers and aliases"),
        ("[]", "must be a mapping"),
        ("false", "must be a mapping"),
        ("aliases: {a: [2024-99-99]}", "is not valid YAML"),
        (
            "providers: [{name: a, base_url: http://x/v1, headers: {x-team: hunter2\u2019}}]",
            "providers.0.headers: the value of x-team must be printable ASCII",
        ),
        (
            'providers: [{name: a, base_url: http://x/v1, headers: {"hunter2: x": y}}]',
            "providers.0.headers: a name is not one that HTTP allows",
        ),
        (
            "providers: [{name: a, base_url: http://x/v1, headers: {x-team: [hunter2]}}]",
            "providers.0.headers.x-team",
        ),
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
    assert "a.yaml" in line or "NO_SUCH_KEY" in line or "twice" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "providers: []"])
def test_a_file_may_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("AILB_CONFIG", str(write(tmp_path / "a.yaml", text)))
    assert load().providers == ()


def test_a_file_that_is_not_utf8_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("# Schl\u00fcssel".encode("latin-1"))
    assert faults(monkeypatch, AILB_CONFIG=str(path)) == [f"AILB_CONFIG: {path}: is not UTF-8 text"]


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (line,) = faults(monkeypatch, AILB_CONFIG=str(tmp_path / "none.yaml"))
    assert line.startswith("AILB_CONFIG: ")
