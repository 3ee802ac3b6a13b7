"""The audit log on a real Postgres."""
