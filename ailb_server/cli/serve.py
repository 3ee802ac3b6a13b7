"""`ailb serve` and `ailb migrate`: the gateway without embedded parts."""

import logging
from collections.abc import Callable
from functools import partial

import typer

from ailb_server.app import START_ERRORS, VERSION, Gateway, Process
from ailb_server.cli.allocator import tended_heap
from ailb_server.cli.running import Signals, settle, started, unless
from ailb_server.local.addresses import authority
from ailb_server.local.resources import data_dir
from ailb_server.settings import Configuration, Settings, SettingsError, load
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store

_log = logging.getLogger(__name__)


async def run(configuration: Configuration) -> int:
    """0 after a signal and a drain; 1, with the reason, if it cannot start; 2 if not configured."""
    try:
        url = database_url(configuration)
        _check_providers(configuration)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        return 2
    return await serve_until_ended(
        configuration, url, _read, partial(_tell_of_keys, configuration.settings)
    )


async def serve_until_ended(
    configuration: Configuration,
    url: str,
    read: Callable[[], Configuration],
    ready: Callable[[Gateway], None],
) -> int:
    """Serves from the database at `url`; `read` is for reloads, `ready` is called once it serves.
    0 after a signal and a drain; 1, with the reason, if it cannot start."""
    settings = configuration.settings
    signals = Signals()
    with signals.caught():
        process = Process(read=read, end=signals.end.set)
        gateway = Gateway(configuration, url, data_dir("migrations"), process)
        try:
            port = await started(signals, gateway.start())
        except START_ERRORS as error:
            typer.echo(f"ailb: {error}", err=True)
            return 1
        if port is None:
            _log.info("stopped before the start was over")
            return 0
        settle()
        _log.info("AILB %s serves on %s", VERSION, authority(settings.host, port))
        ready(gateway)
        async with tended_heap(), signals.hangups(partial(gateway.reload, "SIGHUP")):
            await signals.end.wait()
        await unless(signals.now, gateway.drain())
        await gateway.close()
        _log.info("stopped")
    return 0


async def migrate_database(configuration: Configuration) -> int:
    """Prints one line for each file applied."""
    try:
        url = database_url(configuration)
        await Store(url).wait_ready(configuration.settings.database_connect_timeout_s)
        applied = await migrate(url, data_dir("migrations"))
    except (SettingsError, *START_ERRORS) as error:
        typer.echo(f"ailb: {error}", err=True)
        return 1
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo("The database is up to date.")
    return 0


def database_url(configuration: Configuration) -> str:
    """Raises SettingsError if it is not set."""
    url = configuration.settings.database_url
    if url is None:
        raise SettingsError(
            ["DATABASE_URL: is needed, such as postgresql://user:password@host:5432/ailb"]
        )
    return url.get_secret_value()


def _read() -> Configuration:
    configuration = load()
    _check_providers(configuration)
    return configuration


def _check_providers(configuration: Configuration) -> None:
    if not configuration.providers and not configuration.settings.demo_provider:
        raise SettingsError(
            [
                "OPENAI_API_KEY, OPENAI_BASE_URL or providers in AILB_CONFIG: at least one provider"
                " is needed (DEMO_PROVIDER=true for the demo)"
            ]
        )


def _tell_of_keys(settings: Settings, gateway: Gateway) -> None:
    if settings.require_api_key is False:
        _log.warning(
            "no key is asked for: whoever reaches %s can spend the providers' money", settings.host
        )
    elif not gateway.has_admin():
        _log.warning(
            "no key with the role admin yet: `ailb keys bootstrap` makes one, or set ADMIN_API_KEY"
        )
