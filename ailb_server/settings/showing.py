"""A configuration as it may be shown: without its secrets."""

from collections.abc import Mapping

from pydantic import SecretStr

from ailb_server.settings.configuration import Configuration
from ailb_server.settings.environment import Settings
from ailb_server.settings.overlay import MASK
from ailb_server.settings.providers import AliasSettings, ProviderSettings


def shown(configuration: Configuration) -> Mapping[str, object]:
    """By type, in JSON's values: `settings`, `providers` and `aliases`."""
    return {
        "settings": shown_settings(configuration.settings),
        "providers": [shown_provider(provider) for provider in configuration.providers],
        "aliases": {
            name: alias.model_dump(mode="json") if isinstance(alias, AliasSettings) else list(alias)
            for name, alias in configuration.aliases.items()
        },
    }


def shown_settings(settings: Settings) -> Mapping[str, object]:
    """By their names in the environment."""
    told = settings.model_dump(mode="json")
    return {name.upper(): _shown(getattr(settings, name), told[name]) for name in told}


def shown_provider(provider: ProviderSettings) -> Mapping[str, object]:
    """As the YAML file has it; headers may be credentials, so their values are none's to see."""
    told: dict[str, object] = provider.model_dump(mode="json")
    told["headers"] = dict.fromkeys(provider.headers, MASK)
    # One with `api_key_env` is told of by that.
    if provider.api_key and not provider.api_key_env:
        told["api_key"] = MASK
    return told


def _shown(value: object, told: object) -> object:
    return MASK if isinstance(value, SecretStr) else told
