"""Conversations, kept: what a request recalls, and what is remembered of it."""
