"""Reads everything and checks it together."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from dotenv import dotenv_values
from pydantic import AnyHttpUrl, SecretStr, ValidationError

from ailb_server.settings.environment import Settings
from ailb_server.settings.faults import SettingsError, lines, noted
from ailb_server.settings.header_text import header_value
from ailb_server.settings.providers import AliasSettings, FileSettings, ProviderSettings

OPENAI_BASE_URL = AnyHttpUrl("https://api.openai.com/v1")
ANTHROPIC_BASE_URL = AnyHttpUrl("https://api.anthropic.com")


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a start needs to know."""

    settings: Settings
    providers: tuple[ProviderSettings, ...] = ()
    aliases: Mapping[str, AliasSettings | tuple[str, ...]] = field(default_factory=dict)


def load(env_file: Path | None = Path(".env")) -> Configuration:
    """The environment wins over `env_file`. Raises SettingsError with every fault found."""
    variables = _variables(env_file)
    faults: list[str] = []
    file = FileSettings()
    providers: list[ProviderSettings] = []
    with noted(faults):
        settings = _settings(env_file)
        providers += _from_environment(settings)
    with noted(faults):
        file = _file(variables)
    for provider in file.providers:
        with noted(faults):
            providers.append(_keyed(provider, variables))
    with noted(faults):
        check_names(providers)
    if faults:
        raise SettingsError(faults)
    return Configuration(settings, tuple(providers), file.aliases)


def _variables(env_file: Path | None) -> Mapping[str, str]:
    """Every variable that is set, by the name that it has there."""
    try:
        written = dotenv_values(env_file) if env_file else {}
    except UnicodeDecodeError:
        raise SettingsError([f"{env_file}: is not UTF-8 text"]) from None
    except OSError as error:
        raise SettingsError([f"{env_file}: {error.strerror}"]) from None
    # As for Settings: an empty variable is not set, and leaves its place to the file's.
    found = (*written.items(), *os.environ.items())
    return {name: value for name, value in found if value}


def _settings(env_file: Path | None) -> Settings:
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(lines(error)) from None


def _from_environment(settings: Settings) -> tuple[ProviderSettings, ...]:
    found = (_openai(settings), _anthropic(settings), _ollama(settings))
    return tuple(provider for provider in found if provider is not None)


def _openai(settings: Settings) -> ProviderSettings | None:
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return None
    return ProviderSettings(
        name="openai",
        base_url=settings.openai_base_url or OPENAI_BASE_URL,
        models=settings.openai_models,
        api_key=settings.openai_api_key,
    )


def _anthropic(settings: Settings) -> ProviderSettings | None:
    if settings.anthropic_api_key is None and settings.anthropic_base_url is None:
        return None
    return ProviderSettings(
        name="anthropic",
        kind="anthropic",
        base_url=settings.anthropic_base_url or ANTHROPIC_BASE_URL,
        models=settings.anthropic_models,
        api_key=settings.anthropic_api_key,
    )


def _ollama(settings: Settings) -> ProviderSettings | None:
    if settings.ollama_base_url is None:
        return None
    return ProviderSettings(
        name="ollama",
        kind="ollama",
        base_url=settings.ollama_base_url,
        models=settings.ollama_models,
    )


def _file(variables: Mapping[str, str]) -> FileSettings:
    named = {name.upper(): value for name, value in variables.items()}.get("AILB_CONFIG")
    if named is None:
        return FileSettings()
    read = _read(Path(named))
    if not isinstance(read, dict):
        fields = " and ".join(FileSettings.model_fields)
        raise SettingsError([f"AILB_CONFIG: {named}: must be a mapping, with {fields}"])
    try:
        return FileSettings.model_validate(read)
    except ValidationError as error:
        raise SettingsError(lines(error, where=named)) from None


def _read(path: Path) -> object:
    """What the file holds; of an empty one, an empty mapping."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"AILB_CONFIG: {path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"AILB_CONFIG: {path}: is not UTF-8 text"]) from None
    except (yaml.YAMLError, ValueError) as error:
        # A ValueError is a value that looks like a date and is none.
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError([f"AILB_CONFIG: {path}: is not valid YAML{place}"]) from None
    return {} if found is None else found


def _keyed(provider: ProviderSettings, variables: Mapping[str, str]) -> ProviderSettings:
    name = provider.api_key_env
    if name is None:
        return provider
    try:
        key = header_value(variables.get(name, ""))
    except ValueError as error:
        raise SettingsError([f"{name}: {error}"]) from None
    if not key:
        raise SettingsError([f"{name}: the provider {provider.name} needs it"])
    return provider.model_copy(update={"api_key": SecretStr(key)})


def check_names(providers: Sequence[ProviderSettings]) -> None:
    """Raises SettingsError for a name that two have."""
    counts = Counter(provider.name for provider in providers)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        raise SettingsError([f"providers: the name {name} is taken twice" for name in doubles])
