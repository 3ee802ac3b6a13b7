"""The golden folders of what a provider cannot do: `request.json` and, in `refused.json`, the
parameter that the refusal names."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ailb_server.domain.errors import InvalidRequestError


def is_refusal(folder: Path) -> bool:
    """Whether the folder is such a case."""
    return (folder / "refused.json").exists()


def check_refusal(folder: Path, translate: Callable[[], object]) -> None:
    """Translating it must fail, and name what the file says."""
    with pytest.raises(InvalidRequestError) as refused:
        translate()
    wanted = json.loads((folder / "refused.json").read_bytes())
    assert refused.value.facts["param"] == wanted["param"]
