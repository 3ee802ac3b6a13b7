"""What may be changed of a configuration at run time, and the configuration with it changed."""

import re
from collections.abc import Mapping
from dataclasses import replace

import yaml
from pydantic import ValidationError

from ailb_server.domain.module import Overlay
from ailb_server.settings.configuration import Configuration, check_names
from ailb_server.settings.environment import Settings
from ailb_server.settings.faults import SettingsError, lines, noted
from ailb_server.settings.providers import FileProvider, FileSettings, ProviderSettings

SETTINGS, PROVIDERS, ALIASES = "settings", "providers", "aliases"
PARTS = (SETTINGS, PROVIDERS, ALIASES)
MAX_BYTES = 1024 * 1024
_SECRET = re.compile(r"authorization|api[-_]?key|token|secret|cookie|password", re.IGNORECASE)

# Stands for a value that is not shown.
MASK = "***"

# What a call may change, and a reload.
CHANGEABLE = frozenset(
    {
        "log_level",
        "routing_strategy",
        "hedge_after_s",
        "rate_limit_wait_s",
        "rate_limit_queue",
        "list_prices",
        "connect_timeout_s",
        "first_token_timeout_s",
        "between_tokens_timeout_s",
        "total_timeout_s",
        "ollama_num_ctx",
        "drain_timeout_s",
    }
)
# What else a reload takes over from the environment and the file: who can write there may.
RELOADABLE = CHANGEABLE | {
    "openai_api_key",
    "openai_base_url",
    "openai_models",
    "anthropic_api_key",
    "anthropic_base_url",
    "anthropic_models",
    "ollama_base_url",
    "ollama_models",
}


def parsed(part: str, data: bytes) -> object:
    """A part of an overlay from YAML or JSON; like the file, it may name itself at its top.

    Raises SettingsError.
    """
    if part not in PARTS:
        known = ", ".join(PARTS)
        raise SettingsError([f"config_type: must be one of {known}: nothing else is changed so"])
    if len(data) > MAX_BYTES:
        raise SettingsError([f"config_data: must have at most {MAX_BYTES} bytes"])
    try:
        found: object = yaml.safe_load(data.decode())
    except UnicodeDecodeError:
        raise SettingsError(["config_data: is not UTF-8 text"]) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError([f"config_data: is not valid YAML or JSON{place}"]) from None
    if isinstance(found, dict) and found.keys() == {part}:
        found = found[part]
    return _named(found) if part == SETTINGS else found


def overlaid(configuration: Configuration, overlay: Overlay) -> Configuration:
    """The configuration as the overlay changes it. Raises SettingsError with every fault found."""
    faults: list[str] = []
    settings, providers, aliases = (
        configuration.settings,
        configuration.providers,
        configuration.aliases,
    )
    with noted(faults):
        if SETTINGS in overlay.parts:
            settings = _changed(settings, overlay.parts[SETTINGS])
    with noted(faults):
        if PROVIDERS in overlay.parts:
            providers = _replaced(configuration, overlay.parts[PROVIDERS])
    with noted(faults):
        if ALIASES in overlay.parts:
            aliases = _file(ALIASES, overlay.parts[ALIASES]).aliases
    if faults:
        raise SettingsError(faults)
    return replace(configuration, settings=settings, providers=providers, aliases=aliases)


def reloaded(now: Settings, read: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The settings in force with what a reload takes over, and the names of those that were changed
    and need a restart."""
    taken = {name: getattr(read, name) for name in RELOADABLE}
    waiting = (
        name.upper()
        for name in Settings.model_fields
        if name not in RELOADABLE and getattr(now, name) != getattr(read, name)
    )
    return now.model_copy(update=taken), tuple(waiting)


def _named(found: object) -> object:
    if not isinstance(found, Mapping):
        return found
    return {str(name).lower(): value for name, value in found.items()}


def _changed(settings: Settings, data: object) -> Settings:
    if not isinstance(data, Mapping):
        raise SettingsError(["settings: must be a mapping of settings to values"])
    if others := sorted(str(name) for name in data if name not in CHANGEABLE):
        raise SettingsError([_unchangeable(name) for name in others])
    whole = {name: getattr(settings, name) for name in Settings.model_fields}
    try:
        return Settings.model_validate({**whole, **data})
    except ValidationError as error:
        raise SettingsError(lines(error)) from None


def _unchangeable(name: str) -> str:
    if name not in Settings.model_fields:
        return f"settings.{name[:64]}: there is no such setting"
    if name in RELOADABLE:
        return f"{name.upper()}: is read from the environment only: change it there, and reload"
    return f"{name.upper()}: cannot be changed while AILB runs: change it there, and restart"


def _replaced(configuration: Configuration, data: object) -> tuple[ProviderSettings, ...]:
    """The environment's providers, and those of the overlay in the place of the file's."""
    own = [p for p in configuration.providers if not isinstance(p, FileProvider)]
    # Whoever may call must not learn a credential by naming it for a server of theirs.
    keys = {
        (p.api_key_env, p.base_url): p.api_key for p in configuration.providers if p.api_key_env
    }
    faults: list[str] = []
    providers: list[ProviderSettings] = []
    for provider in _file(PROVIDERS, data).providers:
        name = provider.api_key_env
        if name is not None and (name, provider.base_url) not in keys:
            faults.append(
                f"providers: {provider.name}: api_key_env: the YAML file does not have {name} with"
                " this base_url. New credentials are for the file, and a reload"
            )
        if secret := sorted(n for n in provider.headers if _SECRET.search(n)):
            faults.append(
                f"providers: {provider.name}: headers: {secret[0]}: a credential does not belong"
                " here"
            )
        if MASK in provider.headers.values():
            faults.append(f"providers: {provider.name}: headers: {MASK} only stands for a value")
        key = keys.get((name or "", provider.base_url))
        providers.append(provider.model_copy(update={"api_key": key}))
    with noted(faults):
        check_names((*own, *providers))
    if faults:
        raise SettingsError(faults)
    return (*own, *providers)


def _file(part: str, data: object) -> FileSettings:
    try:
        return FileSettings.model_validate({part: data})
    except ValidationError as error:
        # The part's own name begins each place.
        raise SettingsError(lines(error, where="config_data")) from None
