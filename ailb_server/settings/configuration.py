"""Reads everything and checks it together."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from dotenv import dotenv_values
from pydantic import AnyHttpUrl, SecretStr, ValidationError

from ailb_server.settings.environment import Settings
from ailb_server.settings.faults import SettingsError, lines
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
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(lines(error)) from None
    variables = {**(dotenv_values(env_file) if env_file else {}), **os.environ}
    file = _read(settings.ailb_config) if settings.ailb_config else FileSettings()
    providers = (*_from_environment(settings), *(_keyed(p, variables) for p in file.providers))
    _check_names(providers)
    return Configuration(settings, providers, file.aliases)


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


def _read(path: Path) -> FileSettings:
    try:
        return FileSettings.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise SettingsError([f"AILB_CONFIG: {path}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError([f"AILB_CONFIG: {path}: is not valid YAML{place}"]) from None
    except ValidationError as error:
        raise SettingsError(lines(error, where=str(path))) from None


def _keyed(provider: ProviderSettings, variables: Mapping[str, str | None]) -> ProviderSettings:
    if provider.api_key_env is None:
        return provider
    key = variables.get(provider.api_key_env)
    if not key:
        raise SettingsError([f"{provider.api_key_env}: the provider {provider.name} needs it"])
    return provider.model_copy(update={"api_key": SecretStr(key)})


def _check_names(providers: tuple[ProviderSettings, ...]) -> None:
    counts = Counter(provider.name for provider in providers)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        raise SettingsError([f"providers: the name {name} is taken twice" for name in doubles])
