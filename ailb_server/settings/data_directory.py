"""Where AILB keeps what belongs to this machine."""

from pathlib import Path

from ailb_server.settings.environment import Settings

_DEFAULT = Path("~/.local/share/ailb")


def data_directory(settings: Settings) -> Path:
    """AILB_DATA_DIR or the default. Raises RuntimeError if there is no home directory."""
    return (settings.ailb_data_dir or _DEFAULT).expanduser()
