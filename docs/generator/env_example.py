"""`.env.example`: every variable with its default, commented out."""

import textwrap

from docs.generator.schema import Schema, default
from docs.generator.settings import sections

_HEAD = """\
# Copy this file to `.env` and take away the `# ` before what you set. `ailb` reads `.env` in the
# directory it is started in; a variable of the environment wins over it. An empty one is not set.
# docs/configuration.md tells more. Made by `python -m docs.generator`.
"""
_COMPOSE = """
# --- Docker Compose only ---

# The password of its Postgres, letters and digits. It counts when the database is made.
# POSTGRES_PASSWORD=ailb
"""


def text() -> str:
    """The whole file."""
    parts = [_HEAD]
    for title, rows in sections():
        parts.append(f"\n# --- {title} ---\n")
        parts += [_variable(name, schema) for name, schema in rows]
    return "".join(parts) + _COMPOSE


def _variable(name: str, schema: Schema) -> str:
    meaning = schema["description"].replace(": see [the file](#the-yaml-file)", "")
    lines = textwrap.wrap(meaning, 98, break_long_words=False, break_on_hyphens=False)
    comment = "".join(f"# {line}\n" for line in lines)
    return f"\n{comment}# {name}={default(schema)}\n"
