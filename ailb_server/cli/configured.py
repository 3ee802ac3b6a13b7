"""The configuration of a command, or its end."""

from importlib import metadata
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ailb_server.settings import Configuration


def configured(log_format: str, *, one_of_several: bool = False) -> "Configuration":
    """Reads the settings and sets up the log; ends the command with status 2 and a line for each
    fault. `log_format` is what LOG_FORMAT is by default. `one_of_several` log to the same place."""
    from ailb_server.settings import SettingsError, load
    from ailb_server.telemetry import logs

    try:
        configuration = load()
    except SettingsError as error:
        for fault in error.faults:
            typer.echo(fault, err=True)
        raise typer.Exit(2) from None
    settings = configuration.settings
    chosen = settings.log_format or log_format
    if chosen == "auto":
        chosen = logs.automatic()
    # Not by the server's own module: that is all of the server.
    fields = {"module_id": settings.module_id, "version": metadata.version("ailb-server")}
    name = settings.module_id if one_of_several else ""
    form: logs.LogFormat = "json" if chosen == "json" else "text"
    logs.configure(settings.log_level, form, fields, name=name)
    return configuration
