"""`ailb up`, from its start to its exit status."""

import typer

from ailb_server.app import START_ERRORS
from ailb_server.cli.allocator import tended_heap
from ailb_server.cli.running import Signals, settle, started, unless
from ailb_server.local.up import UP_ERRORS, Everything, PartDiedError
from ailb_server.settings import Configuration


async def run(configuration: Configuration, instances: int) -> int:
    """0 after a signal; 1, with the reason, if a part cannot start or dies."""
    signals = Signals()
    with signals.caught():
        everything = Everything(configuration, end=signals.end.set, instances=instances)
        signals.level_switched = everything.switch_level
        try:
            running = await started(signals, everything.start())
            if running is None:
                return 0
            settle()
            typer.echo(running.banner())
            async with tended_heap(), signals.hangups(everything.reload):
                await unless(signals.end, everything.watch())
        except PartDiedError as error:
            typer.echo(f"ailb: {error}; stopping the rest.", err=True)
            await everything.stop()
            return 1
        except (*START_ERRORS, *UP_ERRORS) as error:
            typer.echo(f"ailb: {error}", err=True)
            return 1
        typer.echo("Stopping: running calls may end. Ctrl-C again to stop now.")
        await unless(signals.now, everything.drain())
        await everything.stop()
        typer.echo("Stopped.")
    return 0
