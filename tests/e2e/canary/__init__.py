"""Marked secrets through every field and fault, and where they must not be."""
