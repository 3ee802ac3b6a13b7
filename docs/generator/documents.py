"""Which documents are made, and of what."""

import re
from collections.abc import Mapping
from pathlib import Path

from docs.generator import compatibility, decisions, env_example, errors, metrics, settings

ROOT = Path(__file__).resolve().parents[2]

_REGION = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> dict[Path, str]:
    """The text that each file shall have. In Markdown, only the marked regions are made."""
    docs = ROOT / "docs"
    return {
        ROOT / ".env.example": env_example.text(),
        docs / "configuration.md": _filled(docs / "configuration.md", settings.regions(docs)),
        docs / "compatibility.md": _filled(docs / "compatibility.md", compatibility.regions()),
        docs / "metrics.md": _filled(docs / "metrics.md", metrics.regions()),
        docs / "errors.md": _filled(docs / "errors.md", errors.regions(ROOT)),
        docs / "decisions" / "README.md": _filled(
            docs / "decisions" / "README.md", decisions.regions(docs / "decisions")
        ),
    }


def _filled(path: Path, regions: Mapping[str, str]) -> str:
    """The file's text with its regions made anew. Raises ValueError if they are not those."""
    text = path.read_text(encoding="utf-8")
    found = [match["name"] for match in _REGION.finditer(text)]
    if sorted(found) != sorted(regions):
        raise ValueError(f"{path.name}: has the regions {found}, needs {sorted(regions)}")
    return _REGION.sub(lambda m: f"{m[1]}{regions[m['name']].strip()}\n{m[3]}", text)
