"""docs/psql.md: its statements, run by psql as they stand."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.postgres import psql

_DOCUMENT = Path(__file__).parents[2] / "docs" / "psql.md"


def inspections(section: str) -> Sequence[tuple[str, str]]:
    """Question and statement of each, in the section of that name."""
    document = _DOCUMENT.read_text(encoding="utf-8")
    text = document.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^(\S[^\n]*)\n\n```sql\n(.*?)```", text, re.MULTILINE | re.DOTALL)


def shows(dsn: str, question: str, statement: str, shown: Mapping[str, str]) -> None:
    """Asserts that the answer holds what `shown` says of the question's beginning."""
    done = psql(dsn, "-At", "-c", statement)
    assert done.returncode == 0, done.stderr
    (wanted,) = [line for begin, line in shown.items() if question.startswith(begin)]
    assert wanted in done.stdout
