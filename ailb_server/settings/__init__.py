"""The configuration: environment, `.env` and an optional YAML file, read once, checked, frozen."""

from ailb_server.settings.configuration import Configuration, load
from ailb_server.settings.environment import Settings
from ailb_server.settings.faults import SettingsError
from ailb_server.settings.providers import AliasSettings, ProviderSettings

__all__ = [
    "AliasSettings",
    "Configuration",
    "ProviderSettings",
    "Settings",
    "SettingsError",
    "load",
]
