"""Integration tests of keys, on a real Postgres."""
