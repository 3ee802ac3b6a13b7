"""The composition root: the one package that knows every concrete class."""

from ailb_server.app.gateway import START_ERRORS, Gateway
from ailb_server.app.process import Process
from ailb_server.app.providers import DEMO, DEMO_OWNER, demo_provider
from ailb_server.app.version import VERSION

__all__ = ["DEMO", "DEMO_OWNER", "START_ERRORS", "VERSION", "Gateway", "Process", "demo_provider"]
