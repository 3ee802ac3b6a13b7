"""Model routes in a real Postgres."""
