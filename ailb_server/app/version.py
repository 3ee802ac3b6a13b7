"""Which AILB this is."""

from importlib import metadata

VERSION = metadata.version("ailb-server")
