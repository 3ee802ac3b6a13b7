"""AILB: an LLM gateway."""
