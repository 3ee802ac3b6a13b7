"""What the guide to adding a provider shows is true: its file loads, and what it names exists."""

import re
from pathlib import Path

import pytest
import yaml

from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.settings import Configuration, load
from tests.shape.sources import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "add-a-provider.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    (tmp_path / "ailb.yaml").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "OLLAMA_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AZURE_OPENAI_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, f"sk-of-{name}")
    monkeypatch.setenv("AILB_CONFIG", "ailb.yaml")
    return load()


async def test_requests_go_where_the_example_says(configuration: Configuration) -> None:
    sent = {}
    for provider in configuration.providers:
        if provider.kind == "openai":
            key = provider.api_key.get_secret_value() if provider.api_key else None
            url = str(provider.base_url)
            account = OpenAIAccount(provider.name, url, key, headers=provider.headers)
            template = account.template("/chat/completions")
            await account.close()
            sent[str(template.url)] = template.headers.get("authorization")
    assert sent == {
        "https://my-resource.openai.azure.com/openai/v1/chat/completions": (
            "Bearer sk-of-AZURE_OPENAI_KEY"
        ),
        "http://10.0.0.11:8000/v1/chat/completions": None,
        "https://openrouter.ai/api/v1/chat/completions": "Bearer sk-of-OPENROUTER_API_KEY",
    }


def test_the_alias_of_the_example_names_its_providers(configuration: Configuration) -> None:
    providers = {provider.name for provider in configuration.providers}
    (names,) = yaml.safe_load(EXAMPLE)["aliases"].values()
    assert {name.partition("/")[0] for name in names} <= providers


async def test_the_query_of_a_base_url_stays() -> None:
    (url,) = re.findall(r"`(https://\S+\?api-version=\S+)`", GUIDE)
    account = OpenAIAccount("p", url, "k", headers={})
    template = account.template("/chat/completions")
    await account.close()
    base, _, query = url.partition("?")
    assert str(template.url) == f"{base}/chat/completions?{query}"


def test_the_files_named_exist() -> None:
    named = set(re.findall(r"`((?:ailb_server|tests)/[\w/.]+\.py)`", GUIDE))
    assert len(named) > 4
    mine = {name for name in named if "/x" in name}
    assert [name for name in named - mine if not (REPOSITORY / name).exists()] == []
