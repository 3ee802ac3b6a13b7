"""Memory on a real Postgres."""
