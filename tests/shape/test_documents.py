"""What the documents promise exists: variables, fields, files, commands, targets."""

import re
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from ailb_server.cli.main import app
from ailb_server.settings import Settings, load
from ailb_server.settings.providers import FileSettings, PriceSettings, ProviderSettings
from tests.shape.sources import REPOSITORY

EXAMPLE = REPOSITORY / "docs" / "ailb.example.yaml"
MARKDOWN = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


def ids(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def fields(*models: type[FileSettings | ProviderSettings | PriceSettings]) -> set[str]:
    return {name for m in models for name, field in m.model_fields.items() if not field.exclude}


def test_the_env_example_lists_every_variable() -> None:
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    names = set(re.findall(r"^# ([A-Z0-9_]+)=", text, re.MULTILINE))
    # Docker Compose's own.
    assert names - {"POSTGRES_PASSWORD"} == {name.upper() for name in Settings.model_fields}


def test_every_action_of_the_audit_log_is_told() -> None:
    files = [
        *(REPOSITORY / "ailb_server").rglob("*.py"),
        *(REPOSITORY / "migrations").glob("*.sql"),
    ]
    text = "\n".join(file.read_text() for file in files)
    kinds = (
        "key|auth|tenant|limit|rate_limit|weight|version|route|module|month|audit|scale|instance"
    )
    actions = set(re.findall(rf"[\"']((?:{kinds})\.[a-z_]+|config\.[a-z]+ed)[\"']", text))
    assert {"auth.failed", "config.reloaded", "limit.set", "month.dropped"} <= actions
    told = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (REPOSITORY / "docs/audit.md").read_text()))
    assert actions - told == set()


def test_what_a_setting_takes_is_in_its_own_unit_and_whole() -> None:
    rows = (REPOSITORY / "docs/configuration.md").read_text().splitlines()
    told = {row.split(" | ")[0].strip("| `"): row.split(" | ")[1] for row in rows if " | " in row}
    assert told["MEMORY_TTL_DAYS"] == "days, to 36,500"
    assert told["UNKNOWN_PRICE"] == "`allow`, `deny`, 0 to 10,000,000,000"
    assert told["KEY_CACHE_TTL_S"] == "seconds, to 86,400"


def test_the_env_example_works_uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    env = tmp_path / ".env"
    env.write_text(re.sub(r"^# ([A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE))
    assert load(env).settings == Settings(_env_file=None)


def test_the_example_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AILB_CONFIG", str(EXAMPLE))
    monkeypatch.setenv("OPENAI_KEY_TEAM_A", "sk-of-the-team")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    configuration = load()
    assert [p.name for p in configuration.providers] == ["openai", "gpu-large", "gpu-small", "desk"]
    assert configuration.providers[0].api_key is not None
    assert set(configuration.aliases) == {"smart", "cheap", "quick"}


def test_the_example_file_shows_every_field() -> None:
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    providers = example["providers"]
    prices = [price for p in providers for price in p.get("prices", {}).values()]
    shown = {key for part in (example, *providers, *prices) for key in part}
    assert shown == fields(FileSettings, ProviderSettings, PriceSettings)


@pytest.mark.parametrize("path", MARKDOWN, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#[^)]*)?\)", prose(path))
    assert [t for t in targets if t and not (path.parent / t).exists()] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=ids)
def test_anchors_exist(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)]+)\)", prose(path)):
        page = path.parent / target if target else path
        heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert anchor in slugs, f"{target}#{anchor}"


@pytest.mark.parametrize("path", MARKDOWN, ids=ids)
def test_targets_and_commands_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|^    |\$ )make ([a-z-]+)", text, re.MULTILINE)) <= targets
    commands = get_command(app)
    assert isinstance(commands, TyperGroup)
    assert set(re.findall(r"`ailb ([a-z-]+)", text)) <= set(commands.commands)


def prose(path: Path) -> str:
    """Without what is code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
