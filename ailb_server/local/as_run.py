"""The configuration as `ailb up` goes by it: what is not said is made easy to try."""

from dataclasses import replace

from ailb_server.settings import Configuration
from ailb_server.settings.loopback import is_loopback
from ailb_server.settings.transport import ANY_ORIGIN


def as_run(configuration: Configuration) -> Configuration:
    """With the demo if there is no provider, and without keys where only this machine reaches."""
    return _with_keys(_with_demo(configuration))


def _with_demo(configuration: Configuration) -> Configuration:
    if configuration.providers or configuration.settings.demo_provider:
        return configuration
    settings = configuration.settings.model_copy(update={"demo_provider": True})
    return replace(configuration, settings=settings)


def _with_keys(configuration: Configuration) -> Configuration:
    settings = configuration.settings
    if settings.require_api_key is not None:
        return configuration
    # To be tried at once on one's own machine, and by nobody else: no web page either.
    required = not is_loopback(settings.host) or ANY_ORIGIN in settings.cors_allowed_origins
    update = {"require_api_key": required}
    return replace(configuration, settings=settings.model_copy(update=update))
