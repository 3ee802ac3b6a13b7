"""`ailb keys bootstrap`: the first key, made where no server need run."""

import typer

from ailb_server.app import START_ERRORS
from ailb_server.app.access import bootstrap
from ailb_server.cli.serve import database_url
from ailb_server.domain.errors import AilbError
from ailb_server.local.resources import data_dir
from ailb_server.settings import Configuration, SettingsError

# Who it was, as the audit log tells it.
_BY = "ailb keys bootstrap"


async def make_admin(configuration: Configuration, name: str) -> int:
    """Prints the secret to standard output; 1, with the reason, if it cannot."""
    try:
        url = database_url(configuration)
        secret = await bootstrap(configuration.settings, url, data_dir("migrations"), name, _BY)
    except (SettingsError, AilbError, *START_ERRORS) as error:
        typer.echo(f"ailb: {error}", err=True)
        return 1
    typer.echo("A key with the role admin. Its secret is shown only now:", err=True)
    typer.echo(secret)
    return 0
