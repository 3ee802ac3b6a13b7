"""`ailb instance`: one of the gateways of `ailb up --instances`, which starts and ends it."""

import sys

from ailb_server.app import DEMO_OWNER, Gateway
from ailb_server.cli.serve import database_url, serve_until_ended
from ailb_server.local.as_run import as_run
from ailb_server.local.instance import Told
from ailb_server.settings import Configuration, load


async def run(configuration: Configuration) -> int:
    """As `ailb serve`; once it serves, standard output has a line that says so, and then none."""
    url = database_url(configuration)
    return await serve_until_ended(as_run(configuration), url, lambda: as_run(load()), _tell)


def _tell(gateway: Gateway) -> None:
    demo = [str(one.base_url) for one in gateway.providers if one.owned_by == DEMO_OWNER]
    told = Told(gateway.models(), gateway.has_admin(), demo[0] if demo else None)
    sys.stdout.write(told.line())
    sys.stdout.flush()
