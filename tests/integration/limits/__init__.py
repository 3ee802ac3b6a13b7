"""Integration tests of limits and budgets, on a real Postgres."""
