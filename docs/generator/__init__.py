"""Writes the parts of the documents that the code knows best: `python -m docs.generator`."""

from docs.generator.documents import documents

__all__ = ["documents"]
