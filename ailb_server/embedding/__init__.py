"""Texts into vectors: a local model in a process of its own, or a provider's."""
